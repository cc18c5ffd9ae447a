package knot

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestSetup runs the recipe's commands on a knotd that has none of the keys, twice.
func TestSetup(t *testing.T) {
	_, s, d, list := pair(t, 1)
	list[0].Template.Primaries[0].Key = "other"
	for _, secret := range []string{"d3Jvbmc=", labdns.KeySecret} { // the second is right
		r := Setup(server.Setup{
			Options: server.Options{Name: "ns3", Control: s.Control, Config: s.Config},
			Keys:    []wire.Key{{Name: labdns.KeyName + ".", Algorithm: "hmac-sha256.", Secret: labdns.KeySecret}, {Name: "Other.", Algorithm: "hmac-sha256.", Secret: secret}},
		})
		if len(r.Commands) < 6 || len(r.Files)+len(r.Notes) > 0 {
			t.Errorf("the recipe is %+v", r)
		}
		for _, c := range r.Commands {
			if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", c, err, out)
			}
		}
	}
	if info, err := d.Probe(t.Context()); err != nil || len(info.Problems) > 0 {
		t.Errorf("after the recipe: %+v, %v", info, err)
	}
	if got := s.KnotControl([]string{"conf-read", "key.secret", "other"}); !slices.Contains(got, labdns.KeySecret) {
		t.Errorf("the key's secret is %q", got)
	}
	if err := d.Add(t.Context(), list)[0]; err != nil {
		t.Errorf("a template with the recipe's key: %v", err)
	}
}

// TestSetupOfTextConfiguration has a knotd that would forget zones.
func TestSetupOfTextConfiguration(t *testing.T) {
	s := labdns.Knot(t, labdns.Options{Text: true})
	d := open(t, s.Control, t.TempDir())
	if info, err := d.Probe(t.Context()); err != nil || len(info.Problems) != 1 || !strings.Contains(info.Problems[0], "gone after a restart") {
		t.Errorf("Probe: %+v, %v", info, err)
	}
	r := Setup(server.Setup{Options: server.Options{Name: "ns3", Control: s.Control, Config: s.Config}})
	if len(r.Commands) != 1 || len(r.Notes) != 1 {
		t.Fatalf("the recipe is %+v", r)
	}
	_, c, _ := strings.Cut(strings.Join(r.Commands[0], " "), " -- ") // without the user that Debian's package makes
	c = strings.Replace(c, database, filepath.Join(t.TempDir(), "confdb"), 1)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", c).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", c, err, out)
	}
	s.Kill()
	r = Setup(server.Setup{Options: server.Options{Name: "ns3", Control: s.Control, Config: s.Config}})
	if len(r.Commands)+len(r.Files) > 0 || len(r.Notes) != 1 {
		t.Errorf("the recipe for a server that is down is %+v", r)
	}
}
