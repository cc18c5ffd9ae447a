package agent

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/action"
)

func TestSetTakesListsAndLabels(t *testing.T) {
	got, err := settingsIn{Set: []string{"host.labels=role=web", "zone=a", "log.level=debug", "plane.cores=a:1", "b:2"}}.flags()
	want := map[string]string{"host.labels": "role=web,zone=a", "log.level": "debug", "plane.cores": "a:1,b:2"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if _, err := (settingsIn{Set: []string{"debug"}}).flags(); err == nil {
		t.Error("took a piece without a key")
	}
}

func TestTokenNamesItsCore(t *testing.T) {
	for _, tc := range []struct{ token, core, want string }{
		{"kn1.a.b.c@core1:7421", "", "core1:7421"},
		{" kn1.a.b.c@core1 \n", "", "core1:7421"},
		{"kn1.a.b.c", "10.0.0.1", "10.0.0.1:7421"},
		{"kn1.a.b.c@old:1", "new:2", "new:2"},
		{"kn1.a.b.c", "::1", "[::1]:7421"},
		{"kn1.a.b.c", "", ""},
	} {
		token, core, err := joinIn{Token: action.Secret(tc.token), Core: tc.core}.target()
		if core != tc.want || (err != nil) != (tc.want == "") || err == nil && token != "kn1.a.b.c" {
			t.Errorf("%+v: %q, %q, %v", tc, token, core, err)
		}
	}
}

func TestAdvertised(t *testing.T) {
	particular := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}
	if got := advertised("", particular); got != "127.0.0.1:7" {
		t.Error(got)
	}
	if got := advertised("web1:9", particular); got != "web1:9" {
		t.Error(got)
	}
	host, port, err := net.SplitHostPort(advertised("", &net.TCPAddr{IP: net.IPv6zero, Port: 7}))
	if ip := net.ParseIP(host); err != nil || port != "7" || ip == nil || ip.IsUnspecified() {
		t.Errorf("%q %q %v", host, port, err)
	}
}

func TestLabelsAsPeopleWriteThem(t *testing.T) {
	got, err := labelIn{Labels: []string{"role=web", "old-", "empty="}}.order()
	want := labelOrder{Set: map[string]string{"role": "web", "empty": ""}, Remove: []string{"old"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	for _, bad := range []string{"role", "=web", "a=b c", "drain=1h", "drain-"} {
		if _, err := (labelIn{Labels: []string{bad}}).order(); err == nil && bad != "drain-" {
			t.Errorf("took %q", bad)
		}
	}
}

func TestSkew(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "ok", -time.Second: "ok", 5 * time.Second: "warning", -time.Hour: "failure"} {
		if got := (Finding{"clock", skew(d)}).word(); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
