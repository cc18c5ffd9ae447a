package accident

import (
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"kaname.dev/kaname/rib/zone/catalog"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
)

// side is one catalog behind the firewall, as purely as can be: what was accepted last
// stays unless a version is valid and the guard lets it through.
type side struct {
	zone  name.Name
	set   map[name.Name]bool
	state guard.State
}

func (s *side) see(t *testing.T, text string, at time.Time) {
	t.Helper()
	rrs, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Parse(s.zone, slices.Values(rrs), catalog.Options{})
	if err != nil {
		return
	}
	var gone []name.Name
	for n := range s.set {
		if _, ok := c.Members[n]; !ok {
			gone = append(gone, n)
		}
	}
	slices.Sort(gone)
	v := guard.Judge(guard.Default(), s.state, at, guard.Change{Had: len(s.set), Next: len(c.Members), Gone: gone, Serial: &c.Serial}, guard.Ack{})
	s.state = v.State
	for n := range c.Members {
		s.set[n] = true
	}
	if !v.Held {
		for _, n := range gone {
			delete(s.set, n)
		}
	}
}

// Through the parser and the guard no accident loses a zone; without them many do.
func TestNoAccidentLosesAZone(t *testing.T) {
	seen := map[string]bool{}
	harmless := 0
	for _, c := range All() {
		if seen[c.Name] || c.Text == "" || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(c.Name) || len(c.Steps) < 2 || len(c.Keep) == 0 {
			t.Errorf("case %q is not well made, or there twice", c.Name)
		}
		seen[c.Name] = true
		sides := map[string]*side{One: {zone: One, set: map[name.Name]bool{}}, Two: {zone: Two, set: map[name.Name]bool{}}}
		modes, texts := map[string]Mode{}, map[string]string{}
		raw := map[string]bool{} // what a consumer without any care has last
		for i, step := range c.Steps {
			maps.Copy(modes, step.Modes)
			maps.Copy(texts, step.Catalogs)
			for zone, s := range sides {
				if modes[zone] == OK {
					s.see(t, texts[zone], time.Unix(1e9+int64(i), 0))
				}
			}
			for _, z := range c.Keep {
				if !sides[One].set[name.Name(z)] && !sides[Two].set[name.Name(z)] {
					t.Errorf("%s: step %d loses %s", c.Name, i, z)
				}
			}
			for _, z := range c.Never {
				if n, err := name.Parse(z); err != nil || sides[One].set[n] {
					t.Errorf("%s: step %d takes %s", c.Name, i, z)
				}
			}
			if lacks(t, texts, c.Keep) {
				raw[c.Name] = true
			}
		}
		for _, z := range c.New {
			if !sides[One].set[name.Name(z)] && !sides[Two].set[name.Name(z)] {
				t.Errorf("%s: %s is not there in the end", c.Name, z)
			}
		}
		if !raw[c.Name] {
			harmless++
		}
	}
	if len(seen) < 30 || harmless > len(seen)/2 {
		t.Errorf("%d cases, %d of which lose nothing even when read without care", len(seen), harmless)
	}
}

// lacks reports whether a zone is in no catalog as it is written.
func lacks(t *testing.T, texts map[string]string, keep []string) bool {
	t.Helper()
	all := map[string]bool{}
	for _, text := range texts {
		rrs, err := read(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range rrs {
			all[rr.String()] = true
		}
	}
	for _, z := range keep {
		found := false
		for rr := range all {
			found = found || regexp.MustCompile(`(?i)IN\tPTR\t`+regexp.QuoteMeta(z)+`$`).MatchString(rr)
		}
		if !found {
			return true
		}
	}
	return false
}

// Played as cases of their own, no two share a name, and each is as long as it was.
func TestAs(t *testing.T) {
	owners := map[string]string{}
	for i, c := range All() {
		own := c.As(i)
		if len(own.Catalogs()) != 2 || len(own.Steps) != len(c.Steps) || len(own.Keep) != len(c.Keep) || len(own.Keep[0]) != len(c.Keep[0]) {
			t.Errorf("%s became %+v", c.Name, own)
		}
		for _, z := range slices.Concat(own.Catalogs(), own.Keep, own.New) {
			if was := owners[z]; was != "" {
				t.Errorf("%s is of %s and %s", z, was, c.Name)
			}
			owners[z] = c.Name
		}
	}
}
