package compare

import (
	"fmt"
	"strings"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
)

func knot(t *testing.T, zones ...zoneFile) *labdns.Server {
	t.Helper()
	t.Skip("knot not yet")
	var b strings.Builder
	for _, z := range zones {
		fmt.Fprintf(&b, " - domain: \"%s\"\n", z.name)
	}
	return nil
}
