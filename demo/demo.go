package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// app is the name of the demo's app.
const app = "demo"

// Action returns the action "demo". It is local, and reads only what it is given.
func Action() action.Action {
	return action.New("demo", "Do the main job on this machine, with real processes and a real release", action.Reads, run, action.Local(),
		action.InJapanese("このマシン上で主要な流れをすべて実演する"),
		action.WithLong("Starts a core and several hosts in a temporary folder on loopback ports, pushes a release, makes it live in waves, deploys a second one as a delta "+
			"and a third that fails its health gate and is taken back. It ends with exit code 0 only if every tree is what tar unpacks and every number is as it should be. "+
			"Without --once it stays up, with the console, until Ctrl-C; then everything is removed."),
		action.WithExample("kaname demo", "the sources of the Go installation, or this folder, on five hosts"),
		action.WithExample("kaname demo --once --hosts 10 --release app.tar.gz -o json", "a release of your own, the numbers as JSON"))
}

type demoIn struct {
	Hosts   int    `name:"hosts" help:"how many hosts" default:"5"`
	Release string `name:"release" help:"tarball, or s3:// or https:// address of one; by default one is made" complete:"files"`
	Second  string `name:"second" help:"tarball of the second release; by default it is made from the first by small changes" complete:"files"`
	Waves   string `name:"waves" help:"how many hosts are live after each wave" default:"1,50%,100%"`
	Once    bool   `name:"once" help:"exit when done"`
}

func (in *demoIn) check() (err error) {
	if in.Hosts < 1 || in.Hosts > 100 {
		return fault.Invalid(fmt.Sprintf("a demo has 1 to 100 hosts, not %d", in.Hosts))
	}
	for _, file := range []*string{&in.Release, &in.Second} {
		if *file == "" || action.IsURL(*file) {
			continue
		}
		if _, err := os.Stat(*file); err != nil {
			return fault.NotFound("archive " + *file + " cannot be read").Because(err)
		}
		if *file, err = filepath.Abs(*file); err != nil { // tar runs elsewhere
			return err
		}
	}
	return nil
}

// run is the action.
func run(ctx context.Context, r *action.Run, in demoIn) (Summary, error) {
	if err := in.check(); err != nil {
		return Summary{}, err
	}
	began := time.Now()
	r.Note(fmt.Sprintf("starting a core and %d hosts", in.Hosts))
	f, err := openFleet(ctx, r, in.Hosts)
	if err != nil {
		return Summary{}, err
	}
	defer f.close()
	d := &show{fleet: f, in: in}
	d.sum.Hosts, d.sum.SecondsStart = in.Hosts, since(began)
	for _, act := range []func(context.Context) error{d.first, d.second, d.third} {
		if err := act(ctx); err != nil {
			return d.sum, err
		}
	}
	d.sum.Seconds = since(began)
	if wrong := d.sum.wrong(); wrong != nil {
		return d.sum, wrong
	}
	d.sum.OK = true
	if in.Once {
		return d.sum, nil
	}
	return d.stay(ctx)
}

// stay keeps everything up until ctx ends.
func (d *show) stay(ctx context.Context) (Summary, error) {
	password, err := d.person(ctx)
	if err != nil {
		return d.sum, err
	}
	d.sum.Console = "https://" + d.at.API
	d.run.Note(d.sum.String())
	d.run.Note(fmt.Sprintf("console: %s  (user demo, password %s; the certificate is of the demo's own CA)", d.sum.Console, password))
	d.run.Note("command line: KANAME_SOCKET=" + d.at.Socket + " kaname release status")
	d.run.Note("press Ctrl-C to end it and remove everything")
	<-ctx.Done()
	return d.sum, nil
}

// show is one demo under way.
type show struct {
	*fleet

	in    demoIn
	sum   Summary
	v2    map[string]string // the tree of the second release
	made2 time.Time         // when it was pushed
}

func since(t time.Time) float64 { return float64(time.Since(t).Milliseconds()) / 1000 }

// deployed is what the action release deploy returns.
type deployed struct {
	Live   int   `json:"live"`
	Origin int64 `json:"bytes_origin"`
	Full   int64 `json:"bytes_full"`
	Delta  int64 `json:"bytes_delta"`
}

// first pushes the first release and makes it live in waves.
func (d *show) first(ctx context.Context) error {
	archive := d.in.Release
	if archive == "" {
		dir, err := source()
		if err != nil {
			return err
		}
		archive = filepath.Join(d.dir, "demo-1.tar.gz")
		d.run.Note("making a release of " + dir)
		if err := makeArchive(archive, dir, change{}); err != nil {
			return err
		}
	}
	d.sum.Release = archive
	pushing := time.Now()
	pushed, err := d.push(ctx, archive, "1")
	if err != nil {
		return err
	}
	d.sum.Files, d.sum.BytesTree, d.sum.SecondsPush = pushed.Files, pushed.Size, since(pushing)
	began := time.Now()
	out, err := d.deploy(ctx, "1")
	if err != nil {
		return err
	}
	d.sum.Live, d.sum.BytesOrigin, d.sum.BytesFull, d.sum.SecondsDeploy = out.Live, out.Origin, out.Full, since(began)
	_, err = d.compare(ctx, archive, "1", pushing)
	return err
}

// second makes a second release from the first and deploys it as a delta.
func (d *show) second(ctx context.Context) error {
	archive := d.in.Second
	if archive == "" {
		archive = filepath.Join(d.dir, "demo-2.tar.gz")
		if err := makeArchive(archive, d.current(d.names[0]), patch()); err != nil {
			return err
		}
	}
	began := time.Now()
	pushed, err := d.push(ctx, archive, "2")
	if err != nil {
		return err
	}
	out, err := d.deploy(ctx, "2")
	if err != nil {
		return err
	}
	d.sum.BytesFullSecond, d.sum.BytesDelta, d.sum.BytesOriginSecond, d.sum.SecondsDelta = pushed.Wire, out.Delta, out.Origin, since(began)
	if out.Delta == 0 { // so little that a delta is not worth making: it travelled whole
		d.sum.BytesDelta = min(out.Origin, pushed.Wire)
	}
	d.sum.LiveSecond = out.Live
	d.made2 = began
	d.v2, err = d.compare(ctx, archive, "2", began)
	return err
}

// third deploys a release that is broken and expects it to be taken back.
func (d *show) third(ctx context.Context) error {
	archive := filepath.Join(d.dir, "demo-3.tar.gz")
	if err := makeArchive(archive, d.current(d.names[0]), broken()); err != nil {
		return err
	}
	if _, err := d.push(ctx, archive, "3"); err != nil {
		return err
	}
	began := time.Now()
	_, err := d.deploy(ctx, "3")
	if err == nil {
		return fault.Internal("the broken release passed its health gate")
	}
	if ctx.Err() != nil {
		return err
	}
	d.run.Note("as it should be: " + fault.Of(err).What)
	d.sum.SecondsRollback = since(began)
	for _, name := range d.names {
		if to, err := os.Readlink(filepath.Join(d.root(name), app, "current")); err != nil || filepath.Base(to) != "2" {
			return fault.Internal(fmt.Sprintf("after the rollback host %s has %q live, not 2", name, to)).Because(err)
		}
		got, err := tree(d.current(name), d.made2)
		if err != nil {
			return err
		}
		if diff := differences(d.v2, got); len(diff) > 0 {
			return fault.Internal(fmt.Sprintf("after the rollback the tree of host %s differs: %v", name, diff))
		}
	}
	d.sum.RolledBack = true
	return nil
}

// current is where the live release of a host is.
func (d *show) current(name string) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(d.root(name), app, "current"))
	if err != nil {
		return filepath.Join(d.root(name), app, "current")
	}
	return dir
}

// pushed is what the actions release push and import return.
type pushed struct {
	Files int   `json:"files"`
	Size  int64 `json:"size"`
	Wire  int64 `json:"wire"`
}

// push stores an archive as a release.
func (d *show) push(ctx context.Context, archive, version string) (out pushed, err error) {
	d.run.Note("pushing " + archive + " as " + app + " " + version)
	values := map[string]any{"app": app, "version": version}
	if action.IsURL(archive) {
		values["url"] = archive
		return out, d.call(ctx, "release.import", values, &out)
	}
	file, err := os.Open(archive)
	if err != nil {
		return out, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return out, err
	}
	files := map[string]action.File{"archive": {Name: filepath.Base(archive), Reader: file, Size: info.Size()}}
	return out, d.send(ctx, "release.push", values, files, &out)
}

// deploy makes a release live on all hosts, with a health gate after each wave.
// On a machine that is so busy that the lease of the deploy before was not given
// back in time, it waits until that has ended by itself.
func (d *show) deploy(ctx context.Context, version string) (out deployed, err error) {
	values := map[string]any{
		"app": app, "version": version, "to": []string{"role=web"}, "waves": d.in.Waves,
		"health-cmd": "test ! -e " + brokenMark, "health-within": "2s",
	}
	for try := 1; ; try++ {
		err = d.call(ctx, "release.deploy", values, &out)
		if try == 6 || !fault.Is(err, fault.KindConflict) {
			return out, err
		}
		d.run.Note("the deploy before is not over yet; trying again")
		pause := time.NewTimer(5 * time.Second)
		select {
		case <-ctx.Done():
			pause.Stop()
			return out, ctx.Err()
		case <-pause.C:
		}
	}
}

// compare compares the trees on all hosts with what tar makes of the archive; of
// an archive that is elsewhere, with each other.
func (d *show) compare(ctx context.Context, archive, version string, made time.Time) (want map[string]string, err error) {
	if !action.IsURL(archive) {
		dir := filepath.Join(d.dir, "tar-"+version)
		err := untar(ctx, archive, dir)
		if err == nil {
			want, err = tree(dir, made)
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return nil, err
		}
	}
	for _, name := range d.names {
		got, err := tree(d.current(name), made)
		if err != nil {
			return nil, err
		}
		if want == nil {
			want = got
		}
		if diff := differences(want, got); len(diff) > 0 {
			return nil, fault.Internal(fmt.Sprintf("the tree of release %s on host %s differs: %v", version, name, diff))
		}
		d.sum.TreesCompared++
	}
	return want, nil
}
