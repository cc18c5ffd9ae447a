package expect

import (
	"os"
	"testing"

	"kaname.dev/kaname/rib/netpath/facts"
)

// TestRaw shows what is found in a recording of the lab, wherever KANAME_RAW says that one is.
func TestRaw(t *testing.T) {
	dir, api := os.Getenv("KANAME_RAW"), os.Getenv("KANAME_RAW_API")
	if dir == "" {
		t.Skip("KANAME_RAW names no recording")
	}
	cloud := rawCloud(t, api)
	hosts := map[string]*facts.Host{}
	for _, h := range []string{"c1", "c2", "n1"} {
		hosts[h] = rawHost(t, dir, h)
	}
	for _, h := range []string{"c1", "c2", "n1"} {
		for _, f := range Differences(cloud, hosts, h) {
			t.Logf("%s %s %s %v", h, f.ID, f.Where, f.Params)
			for _, p := range f.Proof {
				t.Logf("      %s: %s", p.Where, p.Line)
			}
		}
	}
}
