package bundle

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// comparable lets cmp look into what it cannot.
var comparable = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

var comparableAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func sample() (*intent.Cloud, map[string]*facts.Host) {
	c := &intent.Cloud{Version: intent.Version, Networks: []intent.Network{{ID: "n", Name: "net"}}}
	h := &facts.Host{
		Version: facts.Version, Name: "c1", Namespaces: []facts.Namespace{{Name: "", ID: 1, Routes: []facts.Route{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Kind: "unicast"}}}},
		OVS:     &facts.OVS{Bridges: []facts.Bridge{{Name: "br-int", Flows: "cookie=0x1, table=0, priority=0 actions=NORMAL\n"}}},
		Missing: []facts.Missing{{What: facts.Sets, Why: "permission denied; run it as root"}},
	}
	return c, map[string]*facts.Host{"c1": h, "c2.example": {Version: facts.Version, Name: "c2.example"}}
}

func packed(t testing.TB) []byte {
	t.Helper()
	c, hosts := sample()
	var out bytes.Buffer
	if err := Write(&out, c, hosts); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.tar.zst")
	if err := os.WriteFile(path, packed(t), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, hosts := sample()
	if d := cmp.Diff(c, b.Cloud, comparable, comparableAddr); d != "" {
		t.Error(d)
	}
	if got := b.Names(); !slices.Equal(got, []string{"c1", "c2.example"}) {
		t.Errorf("hosts %q", got)
	}
	for range 2 { // it can be dropped and asked for again
		h, err := b.Host("c1")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(hosts["c1"], h, comparable, comparableAddr); d != "" {
			t.Error(d)
		}
		h.Name = "changed"
	}
	if _, err := b.Host("c9"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("host that is not there: %v", err)
	}
	if _, err := Open(path+".gone", Limits{}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("file that is not there: %v", err)
	}
}

func TestOneHostTravels(t *testing.T) {
	_, hosts := sample()
	b, err := PackHost(hosts["c1"])
	if err != nil {
		t.Fatal(err)
	}
	h, err := UnpackHost(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hosts["c1"], h, comparable, comparableAddr); d != "" {
		t.Error(d)
	}
	if _, err := UnpackHost(b[:len(b)-3]); !fault.Is(err, fault.KindCorrupt) {
		t.Errorf("cut off: %v", err)
	}
}

func TestNoSecretIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[A-Z0-9]{12,20}`).Draw(t, "value")
		name := rapid.SampledFrom([]string{"password", "shared_secret", "psk", "auth-token", "PASSWD", "private_key"}).Draw(t, "name")
		text := name + "=" + value
		c, hosts := sample()
		h := hosts["c1"]
		switch rapid.IntRange(0, 9).Draw(t, "where") {
		case 0:
			h.Processes = []facts.Process{{Args: []string{"agent", "--" + text}}}
		case 1:
			h.Processes = []facts.Process{{Args: []string{"agent", "--" + name, value}}}
		case 2:
			h.OVS.Externals = map[string]string{name: value}
		case 3:
			h.OVS.Bridges[0].Ports = []facts.Port{{Options: map[string]string{name: value, "remote_ip": "10.0.0.1"}}}
		case 4:
			h.Namespaces[0].IPTables4 = `-A INPUT -m comment --comment "` + text + `" -j DROP` + "\n"
		case 5:
			h.Missing[0].Why = "the server said " + text
		case 6:
			c.Networks[0].Name = "net " + text
		case 7:
			c.Notes = []string{"mysql://root:" + value + "@127.0.0.1/neutron"}
		case 8:
			c.Agents = []intent.Agent{{Mappings: map[string]string{name: value}}}
		case 9:
			h.OVS.Bridges[0].Other = map[string]string{"config": `{"` + name + `": "` + value + `"}`}
		}
		for _, v := range []any{c, h} {
			var raw []byte
			var err error
			switch v := v.(type) {
			case *intent.Cloud:
				raw, err = clean(v)
			case *facts.Host:
				raw, err = clean(v)
			}
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte(value)) {
				t.Fatalf("%s is in %s", value, raw)
			}
		}
	})
}
