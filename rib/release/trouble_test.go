package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/rib/release/manifest"
)

// gate returns a hook that waits until open is called.
func gate(t *testing.T) (hook string, open func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "open")
	return "while [ ! -e " + file + " ]; do sleep 0.05; done", func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// begun starts a deploy in the background and waits until it is under way.
func (f *fleetOfTest) begun(version string, values map[string][]string) (end func() (deployOut, error)) {
	f.t.Helper()
	type result struct {
		out deployOut
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, events, err := f.deploy(version, values)
		done <- result{out, err}
		if f.t.Failed() {
			f.t.Log(text(events))
		}
	}()
	planetest.Eventually(f.t, "the deploy is under way", func() bool { return f.core.r.running("shop") != nil })
	return func() (deployOut, error) {
		r := <-done
		return r.out, r.err
	}
}

func TestSecondDeployIsRefusedWhileOneRuns(t *testing.T) {
	f := newFleet(t, 1)
	f.push("1", tarball(t, "1", 3, nil))
	hook, open := gate(t)
	end := f.begun("1", map[string][]string{"pre": {hook}})
	_, _, err := f.deploy("1", nil)
	if !fault.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "deploy of 1 by alice") || !strings.Contains(err.Error(), "kaname release abort shop") {
		t.Errorf("a second deploy: %v", err)
	}
	if _, _, err := run[deployOut](f, f.core, "release rollback", map[string][]string{"app": {"shop"}}); !fault.Is(err, fault.KindNotFound) && !fault.Is(err, fault.KindConflict) {
		t.Errorf("a rollback: %v", err)
	}
	open()
	if out, err := end(); err != nil || out.Live != 1 {
		t.Errorf("the first: %+v, %v", out, err)
	}
}

func TestAbortTakesBack(t *testing.T) {
	f := newFleet(t, 2)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	f.push("2", tarball(t, "2", 3, nil))
	hook, open := gate(t)
	defer open()
	// The first wave goes through, the second waits in its hook.
	end := f.begun("2", map[string][]string{"waves": {"1,100%"}, "pre": {`test "$KANAME_REASON" = rollback || test "$KANAME_WAVE" = 1 || ` + hook}})
	planetest.Eventually(t, "one host is live", func() bool { return f.hosts[0].live("shop") == "2" || f.hosts[1].live("shop") == "2" })
	out, _, err := run[deployOut](f, f.core, "release abort", map[string][]string{"app": {"shop"}, "why": {"errors"}})
	if err != nil || out.State != deployFailed || !strings.Contains(out.Reason, "stopped by alice: errors") {
		t.Errorf("abort: %+v, %v", out, err)
	}
	if _, err := end(); err == nil {
		t.Error("the deploy succeeded")
	}
	f.wantLive("1")
}

func TestHostThatWasOffCatchesUp(t *testing.T) {
	f := newFleet(t, 2)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	off := f.hosts[1]
	off.kill()
	planetest.Eventually(t, "the core misses it", func() bool {
		fl, err := f.core.r.fleetOf(t.Context(), []string{"role=web"})
		return err == nil && len(fl.Off) == 1
	})
	f.push("2", tarball(t, "2", 3, nil))
	out, _, err := f.deploy("2", map[string][]string{"post": {"echo post $KANAME_RELEASE >> $KANAME_SHARED/notes"}})
	if err != nil || out.Live != 1 || out.Absent != 1 {
		t.Fatalf("with one off: %+v, %v", out, err)
	}
	f.hosts[1] = f.join(off.id, off.plane.Host(), off.dir, off.root)
	f.hosts = append(f.hosts, f.join(nil, "web3", t.TempDir(), t.TempDir())) // new, with the same labels
	planetest.Eventually(t, "both catch up", func() bool {
		return f.hosts[1].live("shop") == "2" && f.hosts[2].live("shop") == "2"
	})
	for _, h := range f.hosts {
		planetest.Eventually(t, "hooks have run on "+h.plane.Host(), func() bool {
			b, _ := os.ReadFile(filepath.Join(h.root, "shop", "shared", "notes"))
			return string(b) == "post 2\n"
		})
	}
	planetest.Eventually(t, "the lease is free again", func() bool {
		_, _, err := f.deploy("2", nil)
		return err == nil
	})
}

func TestHostThatFailsToCatchUpIsLeftAlone(t *testing.T) {
	f := newFleet(t, 1)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", map[string][]string{"post": {`echo x >> $KANAME_SHARED/tries; test "$KANAME_HOST" != web2`}}); err != nil {
		t.Fatal(err)
	}
	bad := f.join(nil, "web2", t.TempDir(), t.TempDir())
	tries := func() int {
		b, _ := os.ReadFile(filepath.Join(bad.root, "shop", "shared", "tries"))
		return strings.Count(string(b), "x")
	}
	planetest.Eventually(t, "it is tried", func() bool { return tries() > 0 })
	time.Sleep(time.Second) //nolint:forbidigo // nothing is to happen meanwhile: ten looks of the converger
	if n := tries(); n != 1 {
		t.Errorf("it was tried %d times in a second", n)
	}
	if bad.live("shop") != "" {
		t.Error("what failed is live")
	}
}

func TestHostKilledWhileItStagesGoesOn(t *testing.T) {
	f := newFleet(t, 2)
	out := f.push("1", tarball(t, "1", 3, nil))
	f.core.r.limits.Set(int64(out.Wire)/2, 0) // two copies take four seconds
	end := f.begun("1", nil)
	victim := f.hosts[1]
	has := func() int64 {
		n := int64(0)
		for _, p := range victim.r.store.Packs(manifest.Digest{}) {
			n += int64(p.Have)
		}
		return n
	}
	planetest.Eventually(t, "it has a part", func() bool { return has() > 0 })
	victim.kill()
	f.core.r.limits.Set(0, 0)
	f.hosts[1] = f.join(victim.id, victim.plane.Host(), victim.dir, victim.root)
	got, err := end()
	if err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	f.wantLive("1")
	if after := f.hosts[1].r.stats.Total().Received; after >= int64(out.Wire) {
		t.Errorf("after its restart it fetched %d of %d bytes, also what it had", after, out.Wire)
	}
}

func TestDamagedBaseFallsBackToTheFullPack(t *testing.T) {
	f := newFleet(t, 2)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	// A file that both releases have is changed under kaname's feet, on one host.
	victim := filepath.Join(f.hosts[0].root, "shop", "releases", "1", "lib", "dir1", "file1.bin")
	b, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1
	if err := os.WriteFile(victim, b, 0o600); err != nil {
		t.Fatal(err)
	}
	v, _, err := run[[]verifyOut](f, f.core, "release verify", map[string][]string{"app": {"shop"}})
	if !fault.Is(err, fault.KindCorrupt) {
		t.Errorf("verify: %+v, %v", v, err)
	}
	f.push("2", tarball(t, "2", 3, nil))
	out, events, err := f.deploy("2", nil)
	if err != nil {
		failed(t, events)
		t.Fatal(err)
	}
	f.wantLive("2")
	if out.Delta == 0 || out.Fetched < out.Full || out.Fetched > out.Full+out.Full/2 {
		t.Errorf("fetched %d, full %d, delta %d", out.Fetched, out.Full, out.Delta)
	}
	if v, _, err := run[[]verifyOut](f, f.core, "release verify", map[string][]string{"app": {"shop"}}); err != nil {
		t.Errorf("after: %+v, %v", v, err)
	}
}

func TestDamagedChunkOnAHostIsNotPassedOn(t *testing.T) {
	f := newFleet(t, 2)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	// Both hosts that could give it have a damaged copy, each in another place.
	for i, h := range f.hosts {
		data, err := filepath.Glob(filepath.Join(h.dir, "store", "packs", "*", "data"))
		if err != nil || len(data) != 1 {
			t.Fatalf("packs of %s: %v, %v", h.plane.Host(), data, err)
		}
		file, err := os.OpenFile(data[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(i) * 600_000; at < int64(i+1)*600_000; at += 50_000 {
			if _, err := file.WriteAt([]byte("damage"), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f.hosts = append(f.hosts, f.join(nil, "web3", t.TempDir(), t.TempDir()))
	planetest.Eventually(t, "the new host catches up", func() bool { return f.hosts[2].live("shop") == "1" })
	v, _, err := run[[]verifyOut](f, f.core, "release verify", map[string][]string{"app": {"shop"}})
	if err != nil || len(v) != 3 {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

func TestFailuresOfHooks(t *testing.T) {
	f := newFleet(t, 3)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	f.push("2", tarball(t, "2", 3, nil))
	only := `test "$KANAME_HOST" != web2 || test "$KANAME_RELEASE" = 1 || { echo no space >&2; exit 3; }`
	out, events, err := f.deploy("2", map[string][]string{"post": {only}, "waves": {"100%"}})
	if err == nil || out.State != deployFailed || out.RolledBack != 2 || !strings.Contains(text(events), "exit status 3: no space") {
		t.Errorf("one post fails: %+v, %v\n%s", out, err, text(events))
	}
	f.wantLive("1")
	out, _, err = f.deploy("2", map[string][]string{"post": {only}, "waves": {"100%"}, "max-failures": {"1"}})
	if !fault.Is(err, fault.KindPartial) || out.State != deployPartial || out.Live != 2 || f.hosts[1].live("shop") != "1" {
		t.Errorf("one may fail: %+v, %v, web2 has %q", out, err, f.hosts[1].live("shop"))
	}
	h, _, err := run[showOut](f, f.core, "release show", map[string][]string{"app": {"shop"}})
	if err != nil || len(h.PerHost) != 3 || !strings.Contains(h.PerHost[1].Why, "no space") {
		t.Errorf("show: %+v, %v", h, err)
	}
}

func TestSignaturesAreDemanded(t *testing.T) {
	f := newFleet(t, 1)
	public, private, err := manifest.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	c := f.hosts[0].r.settings()
	c.RequireSignature, c.TrustedKeys = true, []string{string(public)}
	f.hosts[0].r.reload(&c)
	f.push("1", tarball(t, "1", 3, nil))
	_, events, err := f.deploy("1", nil)
	if err == nil || !strings.Contains(text(events), "is not signed") {
		t.Errorf("unsigned: %v\n%s", err, text(events))
	}
	f.wantLive("")
	m, _, err := run[manifestOut](f, f.core, "release manifest", map[string][]string{"app": {"shop"}, "version": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := manifest.ParsePrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.Decode(strings.NewReader(m.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := parsed.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	in := action.TextInputs(map[string][]string{"app": {"shop"}, "version": {"1"}})
	in.Files["signature"] = action.File{Name: "m.minisig", Reader: strings.NewReader(string(sig)), Size: int64(len(sig))}
	a, err := action.NewCatalog(f.core.r.actions()...).Find("release sign")
	if err == nil {
		_, err = a.Run(t.Context(), &action.Run{}, in)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, events, err := f.deploy("1", nil); err != nil {
		failed(t, events)
		t.Fatal(err)
	}
	f.wantLive("1")
}

func TestPruneAndDelete(t *testing.T) {
	f := newFleet(t, 2)
	for _, v := range []string{"1", "2", "3", "4"} {
		f.push(v, tarball(t, v, 3, nil))
		if _, _, err := f.deploy(v, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := run[[]pruneOut](f, f.core, "release prune", map[string][]string{"app": {"shop"}, "keep": {"2"}}); err != nil {
		t.Fatal(err)
	}
	left := func(host int) string {
		names, _ := filepath.Glob(filepath.Join(f.hosts[host].root, "shop", "releases", "*"))
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		return strings.Join(names, " ")
	}
	if got := left(0); got != "3 4" {
		t.Errorf("left after prune: %s", got)
	}
	list, _, err := run[[]releaseOut](f, f.core, "release list", map[string][]string{"app": {"shop"}})
	if err != nil || len(list) != 2 || list[0].Version != "4" || !list[0].Wanted {
		t.Errorf("list: %+v, %v", list, err)
	}
	del := func(v string) error {
		_, _, err := run[[]pruneOut](f, f.core, "release delete", map[string][]string{"app": {"shop"}, "version": {v}})
		return err
	}
	if err := del("4"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("the live one is deleted: %v", err)
	}
	if err := del("3"); err != nil || left(1) != "4" {
		t.Errorf("delete 3: %v, left %s", err, left(1))
	}
	f.push("3", tarball(t, "3", 3, nil)) // the version is free again
}

// text joins what events say.
func text(events []action.Event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(e.Host + " " + e.Step + " " + string(e.State) + ": " + e.Text + "\n")
	}
	return b.String()
}
