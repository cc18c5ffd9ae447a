package directory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// maxHead bounds what is read of a file to find its SOA record, in octets.
const maxHead = 1 << 20

// readZone returns the name of a file's zone: that of its SOA record when it is written
// in full or below $ORIGIN, otherwise that of the file, without ".zone", ".db" or "db.".
// A file whose first record is no SOA record is none.
func readZone(path string) (name.Name, error) {
	f, err := os.Open(path) //nolint:gosec // the directory is the operator's
	if err != nil {
		return "", err
	}
	defer f.Close()
	base := filepath.Base(path)
	for _, end := range []string{".zone", ".db"} {
		base = strings.TrimSuffix(base, end)
	}
	base = strings.TrimPrefix(base, "db.") // as Debian calls them
	called, callErr := name.Parse(base)
	origin := "."
	if callErr == nil {
		origin = string(called)
	}
	z := dns.NewZoneParser(bufio.NewReaderSize(io.LimitReader(f, maxHead), 1024), origin, filepath.Base(path))
	z.SetDefaultTTL(3600)
	rr, ok := z.Next()
	if !ok {
		if err := z.Err(); err != nil {
			return "", fmt.Errorf("it cannot be read as a zone: %w", err)
		}
		return "", errNoZone
	}
	soa, ok := rr.(*dns.SOA)
	if !ok {
		return "", fmt.Errorf("%w: its first record is %s of %s", errNoZone, dns.TypeToString[rr.Header().Rrtype], rr.Header().Name)
	}
	n, err := name.Parse(soa.Hdr.Name)
	if err != nil {
		return "", fmt.Errorf("its zone's name %w", err)
	}
	if callErr != nil && n == name.Root {
		return "", fmt.Errorf("the file's name %w, and its SOA record says no other", callErr)
	}
	return n, nil
}
