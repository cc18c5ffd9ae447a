package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/rollout"
)

func TestNamesFromFiles(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for file, want := range map[string]string{
		"shop-1.4.2.tar.gz":                      "shop 1.4.2",
		"shop-v1.4.2.tar.zst":                    "shop 1.4.2",
		"/tmp/my-shop_2.0-rc1.tgz":               "my-shop 2.0-rc1",
		"s3://builds/deep/shop-1.4.2.tar.gz":     "shop 1.4.2",
		"https://x/shop-1.4.2.tar.gz?token=abc1": "shop 1.4.2",
		"Shop.tar":                               "shop 20260102T030405Z",
		`C:\builds\shop-1.tar`:                   "shop 1",
	} {
		n := naming{}
		if err := n.name(file, now); err != nil || n.App+" "+n.Version != want {
			t.Errorf("%s: %s %s, %v; want %s", file, n.App, n.Version, err, want)
		}
	}
	n := naming{App: "api", Version: "7"}
	if err := n.name("shop-1.tar", now); err != nil || n.App != "api" || n.Version != "7" {
		t.Errorf("given names: %+v, %v", n, err)
	}
	for _, bad := range []naming{{App: "../x"}, {App: "shop", Version: "a/b"}, {App: "shop", Version: ".."}} {
		if err := bad.name("x.tar", now); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestSettingsAreRemembered(t *testing.T) {
	first := deployIn{Post: "systemctl reload shop, now", HealthURL: "http://127.0.0.1/", Shared: []string{"log/"}, MaxFailures: "2", Rollback: "wave", Owners: "numeric"}
	a, err := first.merge(settings{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Waves != "1,10%,100%" || len(a.Hooks.Post) != 1 || a.Hooks.Post[0] != "systemctl reload shop, now" || a.Scope != rollout.Wave || a.MaxFailures != 2 || a.Owners != "numeric" {
		t.Errorf("first: %+v", a)
	}
	b, err := (&deployIn{HealthCmd: "true", MaxFailures: "0", Owners: "archive"}).merge(a)
	if err != nil || b.Health.URL != "" || b.Health.Command != "true" || b.MaxFailures != 0 || len(b.Hooks.Post) != 1 || b.Shared[0] != "log/" || b.Owners != "" {
		t.Errorf("second: %+v, %v", b, err)
	}
	c, err := (&deployIn{Post: "none", Shared: []string{"none"}, HealthCmd: "none"}).merge(b)
	if err != nil || len(c.Hooks.Post) != 0 || len(c.Shared) != 0 || c.Health.Given() {
		t.Errorf("taken away: %+v, %v", c, err)
	}
	if d, err := (&deployIn{Fresh: true}).merge(a); err != nil || len(d.Hooks.Post) != 0 || d.Health.Given() || d.Scope != "" {
		t.Errorf("fresh: %+v, %v", d, err)
	}
	for _, bad := range []deployIn{{Waves: "x"}, {MaxFailures: "-1"}, {MaxFailures: "x"}, {HealthURL: "ftp://x"}, {Shared: []string{"../x"}}} {
		if _, err := bad.merge(settings{}); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestWanted(t *testing.T) {
	var a appDoc
	for _, v := range []string{"1", "2", "2", "3", "4"} {
		a.want(target{Version: v}, false)
	}
	versions := func() string {
		var s []string
		for _, e := range a.Earlier {
			s = append(s, e.Version)
		}
		return strings.Join(s, " ") + " | " + a.Wanted.Version
	}
	if got := versions(); got != "1 2 3 | 4" {
		t.Errorf("got %s", got)
	}
	a.want(target{Version: "2"}, true)
	if got := versions(); got != "1 | 2" {
		t.Errorf("after going back: %s", got)
	}
	for i := range 2 * maxEarlier {
		a.want(target{Version: fmt.Sprint("x", i)}, false)
	}
	if len(a.Earlier) != maxEarlier {
		t.Errorf("%d earlier ones are kept", len(a.Earlier))
	}
}
