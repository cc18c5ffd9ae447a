package mask

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestArgs(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"dnsmasq --no-hosts --pid-file=/p", "dnsmasq --no-hosts --pid-file=/p"},
		{"agent --metadata_proxy_shared_secret=hush", "agent --metadata_proxy_shared_secret=***"},
		{"agent --password hush -v", "agent --password *** -v"},
		{"agent --password -v", "agent --password -v"},
		{"agent transport_url=rabbit://guest:hush@h:5672/", "agent transport_url=rabbit://guest:***@h:5672/"},
		{"ovsdb-server --private-key=db:Open_vSwitch,SSL,private_key", "ovsdb-server --private-key=***"},
	} {
		got := strings.Join(Args(strings.Split(c.in, " ")), " ")
		if got != c.want {
			t.Errorf("%s\nis  %s\nnot %s", c.in, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`{"auth": {"password": "a b", "user": "x"}}`:              `{"auth": {"password": ***, "user": "x"}}`,
		"options:key=flow tun_id=0x1":                             "options:key=flow tun_id=0x1",
		"psk=hush, remote_ip=10.0.0.1":                            "psk=***, remote_ip=10.0.0.1",
		"priority=1,ip,nw_src=10.0.0.1 actions=ct(commit,zone=1)": "priority=1,ip,nw_src=10.0.0.1 actions=ct(commit,zone=1)",
		`-A INPUT -m comment --comment "token: hush" -j RETURN`:   `-A INPUT -m comment --comment "token: ***" -j RETURN`,
		"Api-Key = hush": "Api-Key = ***",
		"http://h:9696/v2.0 and mysql+pymysql://root:hush@127.0.0.1/db": "http://h:9696/v2.0 and mysql+pymysql://root:***@127.0.0.1/db",
	} {
		if got := Text(in); got != want {
			t.Errorf("%s\nis  %s\nnot %s", in, got, want)
		}
	}
}

func TestMapKeepsTheOriginal(t *testing.T) {
	m := map[string]string{"remote_ip": "10.0.0.1", "psk": "hush"}
	if d := cmp.Diff(map[string]string{"remote_ip": "10.0.0.1", "psk": Hidden}, Map(m)); d != "" {
		t.Error(d)
	}
	if m["psk"] != "hush" {
		t.Error("the map that was given is other than before")
	}
}

// secretName is a name of a secret, dressed as programs write it.
func secretName(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"password", "passwd", "admin_password", "shared-secret", "OS_PASSWORD", "auth_token", "psk", "private_key", "api-key", "AccessKey", "credentials", "pwd"}).Draw(t, "name")
	return rapid.SampledFrom([]string{"", "--", "neutron.", "x_"}).Draw(t, "before") + name
}

func TestNoSecretPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[A-Z0-9]{8,20}[!#$%*/+]?[A-Z0-9]{4}`).Draw(t, "value")
		sign := rapid.SampledFrom([]string{"=", ": ", " = ", ":", "='", `="`, `": "`}).Draw(t, "sign")
		text := rapid.StringMatching(`[a-z0-9 ,(]{0,20}[ ,(]`).Draw(t, "before") + secretName(t) + sign + value
		if strings.HasSuffix(sign, "'") || strings.HasSuffix(sign, `"`) {
			text += sign[len(sign)-1:]
		}
		text += rapid.StringMatching(`[ ,][a-z0-9 ]{0,20}`).Draw(t, "after")
		if got := Text(text); strings.Contains(got, value) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
