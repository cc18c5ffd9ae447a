package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/zone/catalog"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// good is a version of the catalog that broke no rule.
type good struct {
	Catalog name.Name       `json:"catalog"`
	Serial  uint32          `json:"serial"`
	Time    time.Time       `json:"time"`    // when it was transferred
	Members []source.Member `json:"members"` // sorted by name
}

const (
	goodFile  = "catalog.json"
	saveEvery = 5 * time.Second
)

// load reads the last good version. One that cannot be read, or is of another catalog,
// is none: the primary has the next.
func load(dir string, zone name.Name) (*good, error) {
	raw, err := os.ReadFile(filepath.Join(dir, goodFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return decode(raw, zone), nil
}

func decode(raw []byte, zone name.Name) *good {
	g := &good{}
	if json.Unmarshal(raw, g) != nil || g.Catalog != zone {
		return nil
	}
	return g
}

// keep writes the last good version to disk, not too often.
func (s *Source) keep(now bool) {
	if !s.unsaved || !now && time.Since(s.saved) < saveEvery {
		return
	}
	s.saved = time.Now()
	if err := s.good.save(s.o.Dir); err != nil {
		s.log.Warn("last good version of a catalog is not on disk", "source", s.o.Name, "why", err)
		return
	}
	s.unsaved = false
}

// save writes the version, whole or not at all.
func (g *good) save(dir string) error {
	raw, err := json.Marshal(g)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return host.WriteBytes(root, goodFile, 0o640, raw)
}

// members returns a catalog's members as a source tells them, sorted. Of several groups
// the first counts: RFC 9432 section 4.3.2 leaves it to the consumer.
func members(c *catalog.Catalog) []source.Member {
	list := make([]source.Member, 0, len(c.Members))
	for n, m := range c.Members {
		s := source.Member{Name: n, Coo: m.Coo, ID: m.Label}
		if len(m.Groups) > 0 {
			s.Group = m.Groups[0]
		}
		for _, p := range m.Primaries {
			s.Primaries = append(s.Primaries, netip.AddrPortFrom(p.Address, 53))
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b source.Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func same(a, b source.Member) bool {
	return a.Name == b.Name && a.Group == b.Group && a.Coo == b.Coo && a.ID == b.ID && slices.Equal(a.Primaries, b.Primaries)
}

// tellGood tells the last good version: what changed since it was told last, or all.
func (s *Source) tellGood(ctx context.Context, tell func(context.Context, source.Report) error) {
	serial := s.good.Serial
	if s.told == nil || s.trouble != "" || time.Since(s.full) > fullEvery {
		err := tell(ctx, source.Report{Full: &source.List{Members: s.good.Members, Serial: &serial}})
		s.after(ctx, err)
		if err == nil {
			s.full = time.Now()
		}
		return
	}
	if s.told == s.good {
		return
	}
	d := delta(s.told.Members, s.good.Members)
	d.Serial = &serial
	s.after(ctx, tell(ctx, source.Report{Delta: d}))
}

// after notes what the keeper knows now.
func (s *Source) after(ctx context.Context, err error) {
	if err != nil {
		s.told = nil
		if ctx.Err() == nil {
			s.log.Debug("report is not taken", "source", s.o.Name, "why", err)
		}
		return
	}
	s.told, s.trouble = s.good, ""
}

// tellTrouble tells that the set is not known now, when that is news and from time to
// time.
func (s *Source) tellTrouble(ctx context.Context, tell func(context.Context, source.Report) error, why error) {
	text := strings.ReplaceAll(why.Error(), "\n", " ")
	if text == s.trouble && time.Since(s.full) < fullEvery {
		return
	}
	if text != s.trouble {
		s.log.Warn("catalog is not taken", "source", s.o.Name, "why", text)
	}
	if err := tell(ctx, source.Report{Trouble: text}); err == nil {
		s.trouble, s.full = text, time.Now()
	}
}

// delta compares two sorted lists.
func delta(was, is []source.Member) *source.Delta {
	d := &source.Delta{}
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].Name < is[0].Name:
			d.Remove, was = append(d.Remove, was[0].Name), was[1:]
		case len(was) == 0 || is[0].Name < was[0].Name:
			d.Add, is = append(d.Add, is[0]), is[1:]
		default:
			if !same(was[0], is[0]) {
				d.Add = append(d.Add, is[0])
			}
			was, is = was[1:], is[1:]
		}
	}
	return d
}
