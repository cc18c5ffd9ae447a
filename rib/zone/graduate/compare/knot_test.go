package compare

import (
	"fmt"
	"strings"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
)

func knot(t *testing.T, zones ...zoneFile) *labdns.Server {
	t.Helper()
	var b strings.Builder
	b.WriteString("zone:\n")
	for _, z := range zones {
		fmt.Fprintf(&b, "  - domain: %s\n    file: %q\n    acl: [near]\n    zonefile-sync: -1\n    journal-content: none\n", z.name, z.path)
	}
	return labdns.Knot(t, labdns.Options{Extra: b.String()})
}
