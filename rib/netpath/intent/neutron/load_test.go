package neutron

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/intent"
)

func load(t *testing.T, r *replay, o Options) *intent.Cloud {
	t.Helper()
	o.Endpoint = r.URL
	c, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadOfARealCloud(t *testing.T) {
	for _, page := range []int{3, 1000} {
		r := newReplay(t)
		c := load(t, r, Options{Page: page})
		if len(c.Networks) != 5 || len(c.Subnets) != 5 || len(c.Ports) != 32 || len(c.Routers) != 2 || len(c.Floating) != 3 || len(c.Groups) != 4 || len(c.Agents) != 10 {
			t.Errorf("page %d: %d networks, %d subnets, %d ports, %d routers, %d floating, %d groups, %d agents", page,
				len(c.Networks), len(c.Subnets), len(c.Ports), len(c.Routers), len(c.Floating), len(c.Groups), len(c.Agents))
		}
		if len(c.Notes) > 0 {
			t.Errorf("notes %q", c.Notes)
		}
		if n := len(r.asked); page == 1000 && n > 7+4 {
			t.Errorf("%d requests: %q", n, r.asked)
		}
		for i := range c.Networks {
			if n := &c.Networks[i]; !n.External && !slices.Equal(n.DHCP, []string{"n1"}) {
				t.Errorf("network %s has DHCP from %q", n.Name, n.DHCP)
			}
		}
		for i := range c.Routers {
			if rt := &c.Routers[i]; !slices.Equal(rt.Hosts, []string{"n1"}) || !rt.SNAT || rt.External == "" || len(rt.GatewayIPs) == 0 {
				t.Errorf("router %+v", rt)
			}
		}
	}
}

func TestPortsAndAgents(t *testing.T) {
	c := load(t, newReplay(t), Options{})
	a := slices.IndexFunc(c.Ports, func(p intent.Port) bool { return p.Name == "a2" })
	if a < 0 {
		t.Fatal("no port a2")
	}
	p := c.Ports[a]
	if p.Host != "c2" || !p.Hybrid || !p.Secured || p.VIFType != "ovs" || p.MAC.String() != "fa:16:3e:00:00:02" || p.IPs[0].Addr != netip.MustParseAddr("10.10.1.12") || len(p.Groups) == 0 {
		t.Errorf("port a2: %+v", p)
	}
	for i := range c.Agents {
		a := &c.Agents[i]
		if a.Seen.IsZero() || !a.Alive {
			t.Errorf("agent %+v", a)
		}
		if a.Kind == "Open vSwitch agent" && (!a.TunnelIP.IsValid() || !a.L2Pop || !a.DVR || a.Mappings["physext"] != "br-ex" ||
			(a.Firewall == "iptables_hybrid") != (a.Host == "c2")) {
			t.Errorf("agent %+v", a)
		}
	}
}

// A Mitaka has no revisions, no port security, one word for projects; a tenant sees no bindings.
func TestOldReleasesAndTenants(t *testing.T) {
	r := newReplay(t)
	r.edit = func(path string, o map[string]any) {
		for _, k := range []string{"revision_number", "project_id", "port_security_enabled", "tags", "description", "created_at", "updated_at", "stateful"} {
			delete(o, k)
		}
		if path == "ports" {
			for _, k := range []string{"binding:host_id", "binding:vif_type", "binding:vif_details"} {
				delete(o, k)
			}
		}
	}
	r.before = func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.Contains(q.URL.Path, "agents") {
			return false
		}
		http.Error(w, `{"NeutronError": {"message": "policy does not allow get_agent"}}`, http.StatusForbidden)
		return true
	}
	c := load(t, r, Options{})
	if p := c.Ports[0]; !p.Secured || p.Host != "" {
		t.Errorf("port %+v", p)
	}
	if c.Routers[0].Project != "p1" {
		t.Errorf("router %+v", c.Routers[0])
	}
	notes := strings.Join(c.Notes, "\n")
	if !strings.Contains(notes, "get_agent") || !strings.Contains(notes, "binding:host_id") {
		t.Errorf("notes %s", notes)
	}
}

func TestFaults(t *testing.T) {
	answer := func(code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	for name, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		o      Options
		kind   fault.Kind
		words  string
	}{
		"denied":      {before: answer(403, `{"NeutronError": {"type": "x", "message": "policy does not allow"}}`), kind: fault.KindDenied, words: "policy does not allow"},
		"no token":    {before: answer(401, `{"error": {"message": "The request you have made requires authentication."}}`), kind: fault.KindDenied, words: "requires authentication"},
		"broken":      {before: answer(500, "<html><body>Traceback \x1b[31m</body></html>"), kind: fault.KindUnavailable, words: "a page in HTML"},
		"escapes":     {before: answer(503, "\x1b[2J\x1b]0;x\x07 down"), kind: fault.KindUnavailable, words: "503"},
		"not Neutron": {before: answer(200, `{"versions": []}`), kind: fault.KindCorrupt, words: "Neutron"},
		"no JSON":     {before: answer(200, `<html>`), kind: fault.KindCorrupt, words: "JSON"},
		"cut off":     {before: answer(200, `{"ports": [{"id": "x"`), kind: fault.KindCorrupt, words: "cut off"},
		"huge":        {before: answer(200, `{"ports": "`+strings.Repeat("x", 2<<20)+`"}`), o: Options{Limit: 1 << 20}, kind: fault.KindFull, words: "1 MB"},
		"endless": {before: func(w http.ResponseWriter, q *http.Request) bool {
			key := strings.ReplaceAll(filepath.Base(q.URL.Path), "-", "_")
			_, _ = fmt.Fprintf(w, `{%q: [{"id": "x"}], %q: [{"rel": "next", "href": "http://x/?marker=x"}]}`, key, key+"_links")
			return true
		}, kind: fault.KindCorrupt, words: "do not end"},
		"silent": {before: func(_ http.ResponseWriter, q *http.Request) bool {
			<-q.Context().Done()
			return true
		}, o: Options{Within: 300 * time.Millisecond}, kind: fault.KindTimeout, words: "300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplay(t)
			r.before = c.before
			c.o.Endpoint = r.URL + "/v2.0/"
			_, err := Load(t.Context(), c.o)
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || strings.ContainsAny(err.Error(), "\x1b\x07") {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := Load(t.Context(), Options{Endpoint: "http://127.0.0.1:1"}); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

// keystone is a Keystone that knows one password.
func keystone(t *testing.T, neutron, nova string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Auth struct {
				Identity struct {
					Password struct{ User struct{ Password string } }
				}
			}
		}
		if r.Method != http.MethodPost {
			_, _ = fmt.Fprintf(w, `{"version": {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": "http://%s/v3/"}]}}`, r.Host)
			return
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.Auth.Identity.Password.User.Password != "hush-right" {
			http.Error(w, `{"error": {"code": 401, "message": "The request you have made requires authentication."}}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Subject-Token", "hush-token")
		w.WriteHeader(http.StatusCreated)
		point := func(kind, at string) string {
			return fmt.Sprintf(`{"type": %q, "name": %q, "endpoints": [{"id": "e", "interface": "public", "region": "R", "region_id": "R", "url": %q}]}`, kind, kind, at)
		}
		_, _ = fmt.Fprintf(w, `{"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "methods": ["password"], "catalog": [%s, %s]}}`, point("network", neutron), point("compute", nova))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestLogIn(t *testing.T) {
	r := newReplay(t)
	r.before = func(w http.ResponseWriter, q *http.Request) bool {
		if q.Header.Get("X-Auth-Token") != "hush-token" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return true
		}
		if strings.HasSuffix(q.URL.Path, "/servers") {
			_, _ = w.Write([]byte(`{"servers": [{"id": "vm-a2", "name": "web"}]}`))
			return true
		}
		return false
	}
	k := keystone(t, r.URL, r.URL+"/v2.1/")
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	write := func(password string) {
		text := "clouds:\n  mine:\n    region_name: R\n    auth:\n      auth_url: " + k.URL + "/v3\n      username: admin\n      password: " + password +
			"\n      project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hush-right")
	c, err := Load(t.Context(), Options{Cloud: "mine", Clouds: file, Servers: true})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(c.Ports, func(p intent.Port) bool { return p.VM == "web" }); i < 0 || c.Ports[i].Name != "a2" {
		t.Errorf("no port is web's; notes %q", c.Notes)
	}
	write("hush-wrong")
	if _, err = Load(t.Context(), Options{Clouds: file}); !fault.Is(err, fault.KindDenied) || strings.Contains(err.Error(), "hush") {
		t.Errorf("wrong password: %v", err)
	}
	if err := os.WriteFile(file, []byte("clouds: [\npassword: hush-right"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(t.Context(), Options{Clouds: file}); !fault.Is(err, fault.KindInvalid) || strings.Contains(err.Error(), "hush") {
		t.Errorf("no YAML: %v", err)
	}
	if _, err = Load(t.Context(), Options{Clouds: file + ".gone"}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("no file: %v", err)
	}
}

func TestCredentialsAreNotShown(t *testing.T) {
	env := map[string]string{"OS_AUTH_URL": "http://k", "OS_USERNAME": "u", "OS_PASSWORD": "hush", "OS_APPLICATION_CREDENTIAL_SECRET": "hush"}
	c := FromEnv(func(k string) string { return env[k] })
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c)
	for _, text := range []string{c.String(), fmt.Sprintf("%v %+v %#v", c, c, c), log.String()} {
		if strings.Contains(text, "hush") {
			t.Error(text)
		}
	}
	if FromEnv(func(string) string { return "" }) != nil {
		t.Error("credentials out of nothing")
	}
}

func TestAddressGroups(t *testing.T) {
	r := newReplay(t)
	r.edit = func(path string, o map[string]any) {
		if path == "security-groups" {
			for _, rule := range o["security_group_rules"].([]any) {
				rule.(map[string]any)["remote_address_group_id"] = "ag"
			}
		}
	}
	known := true
	r.before = func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.HasSuffix(q.URL.Path, "/address-groups") || !known {
			return false
		}
		_, _ = w.Write([]byte(`{"address_groups": [{"id": "ag", "addresses": ["192.0.2.0/25", "192.0.2.128/25"]}]}`))
		return true
	}
	one, none := load(t, r, Options{}), func() *intent.Cloud { known = false; return load(t, r, Options{}) }()
	if n := one.Groups[0].Rules; len(n) < 2 || n[0].Prefix != netip.MustParsePrefix("192.0.2.0/25") || n[1].Prefix != netip.MustParsePrefix("192.0.2.128/25") {
		t.Errorf("rules %+v", n)
	}
	if len(none.Groups[0].Rules) != 0 || len(none.Notes) == 0 {
		t.Errorf("rules for a group that cannot be read: %+v, notes %q", none.Groups[0].Rules, none.Notes)
	}
}
