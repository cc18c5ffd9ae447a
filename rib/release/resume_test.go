package release

import (
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

// restartCore ends the core as a crash of the process would, and starts it again from
// what is on disk.
func (f *fleetOfTest) restartCore() {
	f.t.Helper()
	old := f.core
	address := old.plane.ListenAddress()
	old.kill()
	ln := listen(f.t)
	p := planetest.Open(f.t, plane.Options{Host: "core", Mode: plane.Embedded, Dir: f.dir, Listen: address, Address: ln.Addr().String()})
	f.core = startNode(f.t, p, ln, old.dir, old.root, nil)
	planetest.Eventually(f.t, "the hosts are back", func() bool {
		fl, err := f.core.r.fleetOf(f.t.Context(), []string{"role=web"})
		return err == nil && len(fl.There) == len(f.hosts)
	})
}

func TestDeployGoesOnWhenItsCoreReturns(t *testing.T) {
	f := newFleet(t, 3)
	f.push("1", tarball(t, "1", 3, nil))
	if _, _, err := f.deploy("1", nil); err != nil {
		t.Fatal(err)
	}
	f.push("2", tarball(t, "2", 3, nil))
	hook, open := gate(t)
	end := f.begun("2", map[string][]string{"waves": {"1,100%"}, "pre": {`test "$KANAME_WAVE" = 1 || ` + hook}})
	planetest.Eventually(t, "the first wave is live", func() bool { return f.hosts[0].live("shop") == "2" })
	planetest.Eventually(t, "the second is under way", func() bool {
		d := f.core.r.running("shop")
		if d == nil {
			return false
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.doc.Rollout.Wave == 1
	})
	f.restartCore()
	if _, err := end(); err == nil || !strings.Contains(err.Error(), "goes on without this core") {
		t.Errorf("the asker is told: %v", err)
	}
	open()
	done := func() bool {
		app, err := f.core.r.apps().Get(t.Context(), "shop")
		return err == nil && app.Value.Deploy == "" && app.Value.Wanted.Version == "2"
	}
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // polling with a deadline
		if time.Now().After(end) {
			t.Fatal("the deploy does not end")
		}
	}
	f.wantLive("2")
	out, _, err := run[deployOut](f, f.core, "release watch", map[string][]string{"app": {"shop"}, "once": {"true"}})
	if err != nil || out.State != deployDone || out.Live != 3 {
		t.Errorf("the record says %+v, %v", out, err)
	}
}
