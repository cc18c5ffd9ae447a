package mysql

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/netns"
)

// troubles is how often each of them is had.
var troubles = flag.Int("troubles", 3, "how often TestTrouble has each trouble")

// TestTrouble is what else can befall a primary, some times each.
func TestTrouble(t *testing.T) {
	full(t)
	flavours(t, func(t *testing.T, flavour string) {
		// A file system in a file costs twice; replicas must keep up, or it is another trouble.
		b := newBed(t, options{flavour: flavour, dir: smallDisk(t), every: 100 * time.Millisecond})
		var sum tally
		for _, s := range []scenario{
			unseen(), deafened(), muted(), gone(), diskFull(), lagging(), returning(), killedAndBack(),
		} {
			part := b.rounds(s, *troubles)
			t.Logf("%s: down %v", s.name, part.down)
			sum.join(part)
			if t.Failed() {
				break
			}
		}
		record("mysql."+flavour+".trouble_lost_acks", float64(sum.lost), "writes", "", 0)
		record("mysql."+flavour+".trouble_double_acks", float64(sum.double), "writes", "", 0)
		record("mysql."+flavour+".trouble_dual_writable_s", sum.dual.Seconds(), "s", "", 0)
		record("mysql."+flavour+".trouble_downtime_max_s", at(sum.down, 1).Seconds(), "s", "", 0)
	})
}

// TestControllerKilled kills the controller at each step of a failover: as often as a
// failover has steps, at one further step each time.
func TestControllerKilled(t *testing.T) {
	full(t)
	b := newBed(t, options{flavour: labmysql.FlavourMariaDB, cores: 3})
	var sum tally
	for step := 1; ; step++ {
		s, reached := b.controllerKilled(step)
		o := b.round(s)
		sum.add(o)
		if !<-reached || t.Failed() {
			t.Logf("a failover tells of %d steps", step-1)
			break
		}
	}
	t.Logf("down %v", sum.down)
	record("mysql.controller_killed_lost_acks", float64(sum.lost), "writes", "", 0)
	record("mysql.controller_killed_downtime_max_s", at(sum.down, 1).Seconds(), "s", "", 0)
}

// controllerKilled is the crash of a primary, and that of the controller when it has told of
// so many steps. What it returns says afterwards whether there were so many.
func (b *bed) controllerKilled(step int) (scenario, <-chan bool) {
	reached := make(chan bool, 1)
	ended := make(chan struct{})
	done := make(chan *process, 1)
	return scenario{
		name: fmt.Sprintf("controller killed at step %d", step),
		fault: func(b *bed, p *labmysql.Server) time.Time {
			told := b.told()
			now := kill(p)
			go func() { // ends with heal
				defer close(done)
				for {
					if told() >= step {
						if leader := b.leader(); leader != nil {
							leader.signal(syscall.SIGKILL)
							done <- leader
						}
						return
					}
					select {
					case <-ended:
						return
					case <-time.After(time.Millisecond):
					}
				}
			}()
			return now
		},
		heal: func(b *bed, p *labmysql.Server) {
			close(ended)
			victim := <-done
			reached <- victim != nil
			if victim != nil {
				victim.end(syscall.SIGKILL)
				victim.start()
			}
			b.back(p)
		},
	}, reached
}

// told returns a function that counts the lines by which cores have told since now of moving
// a primary.
func (b *bed) told() func() int {
	var files []*os.File
	for _, c := range b.cores {
		f, err := os.Open(c.log)
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { _ = f.Close() })
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			b.t.Fatal(err)
		}
		files = append(files, f)
	}
	n := 0
	return func() int {
		for _, f := range files {
			text, _ := io.ReadAll(f)
			n += strings.Count(string(text), "moving a primary")
		}
		return n
	}
}

// leader returns the core that watches the databases, by what the cores say.
func (b *bed) leader() *process {
	var leader *process
	var since string
	for _, c := range b.cores {
		raw, err := os.ReadFile(c.log)
		if err != nil || !c.runs() {
			continue
		}
		text := string(raw)
		i := strings.LastIndex(text, "this core watches the databases")
		if i < 0 || strings.HasPrefix(text[i:], "this core watches the databases no longer") {
			continue
		}
		line := text[strings.LastIndex(text[:i], "\n")+1 : i] // begins with the time
		if leader == nil || line > since {
			leader, since = c, line
		}
	}
	return leader
}

// unseen cuts the primary off from the cores only: it serves, and it must stay.
func unseen() scenario {
	return scenario{
		name: "cut between controller and primary", stays: 12 * time.Second,
		fault: func(b *bed, p *labmysql.Server) time.Time {
			for _, c := range b.cores {
				c.host.CutTo(p.Host)
				p.Host.CutTo(c.host)
			}
			return time.Now()
		},
		heal: func(b *bed, p *labmysql.Server) {
			p.Host.Restore()
			for _, c := range b.cores {
				c.host.Restore()
			}
		},
	}
}

// deafened is a primary's host that hears nobody, and muted one that nobody hears.
func deafened() scenario {
	return scenario{
		name: "one-way cut towards the primary", settle: 6 * time.Second,
		fault: func(b *bed, p *labmysql.Server) time.Time {
			for _, h := range b.net.Hosts {
				if h != p.Host {
					h.CutTo(p.Host)
				}
			}
			return time.Now()
		},
		heal: func(b *bed, p *labmysql.Server) {
			for _, h := range b.net.Hosts {
				h.Restore()
			}
			b.back(p)
		},
	}
}

func muted() scenario {
	return scenario{
		name: "one-way cut from the primary", settle: 6 * time.Second,
		fault: func(b *bed, p *labmysql.Server) time.Time {
			for _, h := range b.net.Hosts {
				if h != p.Host {
					p.Host.CutTo(h)
				}
			}
			return time.Now()
		},
		heal: func(b *bed, p *labmysql.Server) { p.Host.Restore(); b.back(p) },
	}
}

// smallDisk gives each server a file system of its own, which can be filled.
func smallDisk(t *testing.T) func(int, *netns.Host) string {
	return func(i int, _ *netns.Host) string {
		mkfs := lab.Need(t, "mkfs.ext4")
		base, err := os.MkdirTemp("", "kbd") //nolint:usetesting // short, as a socket's name must be
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(base) })
		image, dir := filepath.Join(memory(t), "image"), filepath.Join(base, fmt.Sprint("d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 1<<30); err != nil {
			t.Fatal(err)
		}
		for _, c := range [][]string{{mkfs, "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop,noatime,barrier=0", image, dir}} {
			if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", c, err, out)
			}
		}
		t.Cleanup(func() {
			// Lazily: a namespace that is not gone yet may hold it.
			if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
				t.Logf("umount %s: %v: %s", dir, err, out)
			}
		})
		return dir
	}
}

// memory returns a folder in memory, where there is such a file system.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kbd") //nolint:usetesting // not on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// diskFull fills the primary's file system to the last byte.
func diskFull() scenario {
	filler := func(p *labmysql.Server) string { return filepath.Join(p.Dir, "filler") }
	return scenario{
		name: "disk full", errs: " is full", // 1114: it is true
		fault: func(b *bed, p *labmysql.Server) time.Time {
			out, err := exec.CommandContext(b.t.Context(), "dd", "if=/dev/zero", "of="+filler(p), "bs=1M").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "No space") {
				b.t.Fatalf("the disk of %s does not fill: %v: %s", p.Name, err, out)
			}
			return time.Now()
		},
		heal: func(b *bed, p *labmysql.Server) {
			if err := os.Remove(filler(p)); err != nil {
				b.t.Error(err)
			}
			b.back(p)
		},
	}
}

// lagging is a crash while every replica has received much that it has not applied.
func lagging() scenario {
	return scenario{
		name: "every replica lagging",
		fault: func(b *bed, p *labmysql.Server) time.Time {
			var release []func()
			for _, s := range b.db {
				if s == p {
					continue
				}
				c, err := s.DB().Conn(b.t.Context())
				if err == nil {
					_, err = c.ExecContext(b.t.Context(), "LOCK TABLES app.acks READ")
				}
				if err != nil {
					b.t.Fatalf("%s: %v", s.Name, err)
				}
				release = append(release, func() {
					_, _ = c.ExecContext(context.Background(), "UNLOCK TABLES")
					_ = c.Close()
				})
			}
			<-time.After(5 * time.Second)
			now := kill(p)
			for _, f := range release {
				f()
			}
			return now
		},
		heal: (*bed).back,
	}
}

// returning is a primary that hangs, and goes on as soon as its replacement begins.
func returning() scenario {
	return scenario{
		name: "the old primary returns in the middle", may: true,
		fault: func(b *bed, p *labmysql.Server) time.Time {
			told := b.told()
			p.Stop()
			now := time.Now()
			b.until("a failover begins", time.Minute, func() bool { return told() > 0 })
			p.Cont()
			return now
		},
		heal: (*bed).back,
	}
}

// killedAndBack is a crash of a primary that its own host starts again at once.
func killedAndBack() scenario {
	return scenario{
		name: "killed, and started again at once",
		fault: func(b *bed, p *labmysql.Server) time.Time {
			now := kill(p)
			if out, err := exec.CommandContext(b.t.Context(), p.StartFile).CombinedOutput(); err != nil {
				b.t.Fatalf("start %s: %v: %s", p.Name, err, out)
			}
			return now
		},
		heal: (*bed).back,
	}
}
