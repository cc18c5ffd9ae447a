package namedconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib/zone/name"
)

// builder makes the model of the statements.
type builder struct {
	c *Config
	l lists
}

func build(list []Statement, by string, notes []string) (*Config, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("configuration of named: %w", errEmpty)
	}
	b := builder{
		c: &Config{By: by, Notes: notes},
		l: lists{acls: map[string]Statement{}, servers: map[string]Statement{}, cache: map[string][]Match{}, blocks: map[*Statement][]Match{}},
	}
	var views, zones []Statement
	for _, st := range list {
		switch word := strings.ToLower(st.Word(0)); word {
		case "view":
			views = append(views, st)
		case "zone":
			zones = append(zones, st)
		case "key":
			if err := b.key(st, ""); err != nil {
				return nil, err
			}
		default:
			b.global(word, st)
		}
	}
	top := View{Statements: b.c.Options}
	if len(views) == 0 || len(zones) > 0 {
		if err := b.fill(&top, zones, nil); err != nil {
			return nil, err
		}
		b.c.Views = append(b.c.Views, top)
	}
	for _, st := range views {
		if err := b.view(st); err != nil {
			return nil, err
		}
	}
	return b.c, nil
}

// global takes a statement of the top that is no view, zone or key.
func (b *builder) global(word string, st Statement) {
	b.c.Global = append(b.c.Global, st)
	switch word {
	case "acl":
		b.l.acls[strings.ToLower(st.Word(1))] = st
	case "primaries", "masters", "parental-agents", "remote-servers":
		b.l.servers[strings.ToLower(st.Word(1))] = st
	case "dnssec-policy":
		b.c.Policies = append(b.c.Policies, st)
	case "options":
		b.c.Options, _ = st.Block()
		if d, ok := find(b.c.Options, "directory"); ok {
			b.c.Directory = d.Word(1)
		}
	}
}

func (b *builder) key(st Statement, view string) error {
	block, _ := st.Block()
	algorithm, _ := find(block, "algorithm")
	secret, ok := find(block, "secret")
	if st.Word(1) == "" || !ok || secret.Word(1) == "" {
		return fmt.Errorf("%s: key %q has no name or no secret; give it both", st.At, clip(st.Word(1)))
	}
	b.c.Keys = append(b.c.Keys, Key{
		Name: KeyName(st.Word(1)), Algorithm: strings.TrimSuffix(strings.ToLower(algorithm.Word(1)), "."),
		Secret: action.Secret(secret.Word(1)), View: view,
	})
	return nil
}

func (b *builder) view(st Statement) error {
	v := View{Name: st.Word(1)}
	if v.Name == "" {
		return fmt.Errorf("%s: a view without a name; name it", st.At)
	}
	if c := strings.ToUpper(st.Word(2)); c != "IN" {
		v.Class = c
	}
	block, _ := st.Block()
	var zones []Statement
	for _, in := range block {
		switch strings.ToLower(in.Word(0)) {
		case "zone":
			zones = append(zones, in)
		case "key":
			if err := b.key(in, v.Name); err != nil {
				return err
			}
		default:
			v.Statements = append(v.Statements, in)
		}
	}
	if err := b.fill(&v, zones, v.Statements); err != nil {
		return fmt.Errorf("view %s: %w", v.Name, err)
	}
	b.c.Views = append(b.c.Views, v)
	return nil
}

// fill gives a view its lists and zones. own are its statements besides the options.
func (b *builder) fill(v *View, zones, own []Statement) error {
	scope := [][]Statement{own, b.c.Options}
	var err error
	if st, ok := find(own, "match-clients"); ok {
		if v.Match, err = b.matchOf(st); err != nil {
			return err
		}
	}
	if st, ok := find(own, "match-destinations"); ok {
		if v.Destinations, err = b.matchOf(st); err != nil {
			return err
		}
	}
	v.Recursion = v.Class == "" // the default; it needs clients that it is allowed for
	if st, ok := inherit(scope, "recursion"); ok {
		v.Recursion = truth(st.Word(1))
	}
	if st, ok := inherit(scope, "catalog-zones"); ok {
		if err := b.catalogs(v.Name, st); err != nil {
			return err
		}
	}
	for _, st := range zones {
		z, err := b.zone(v, st, scope)
		if err != nil {
			return err
		}
		v.Zones = append(v.Zones, z)
	}
	return nil
}

func (b *builder) matchOf(st Statement) ([]Match, error) {
	block, ok := st.Block()
	if !ok {
		return nil, fmt.Errorf("%s: %s has no list; write %s { ...; };", st.At, clip(st.Word(0)), clip(st.Word(0)))
	}
	return b.l.match(block)
}

// catalogs reads a catalog-zones statement: one statement a zone, words behind blocks.
func (b *builder) catalogs(view string, st Statement) error {
	block, _ := st.Block()
	for _, in := range block {
		n, err := name.Parse(in.Word(1))
		if err != nil {
			return fmt.Errorf("%s: catalog zone %q %w", in.At, clip(in.Word(1)), err)
		}
		c := Catalog{Zone: n, View: view}
		for i, it := range in.Items {
			switch strings.ToLower(it.Text) {
			case "default-primaries", "default-masters":
				if c.Primaries, err = b.l.serversOf(Statement{Items: in.Items[i:], At: in.At}); err != nil {
					return err
				}
			case "zone-directory":
				c.Folder = Statement{Items: in.Items}.Word(i + 1)
			case "in-memory":
				c.InMemory = truth(in.Word(i + 1))
			}
		}
		b.c.Catalogs = append(b.c.Catalogs, c)
	}
	return nil
}

// zone makes a zone, with what it inherits from the scope: the view, then the options.
func (b *builder) zone(v *View, st Statement, outer [][]Statement) (Zone, error) {
	n, err := name.Parse(st.Word(1))
	if err != nil {
		return Zone{}, fmt.Errorf("%s: zone %q %w; correct its name", st.At, clip(st.Word(1)), err)
	}
	block, ok := st.Block()
	if !ok {
		return Zone{}, fmt.Errorf("%s: zone %s has no block; write zone \"%s\" { ...; };", st.At, n, n.Bare())
	}
	z := Zone{Name: n, View: v.Name, Path: "zone " + n.Bare(), At: st.At, Statements: block}
	if v.Name != "" {
		z.Path = "view " + v.Name + " > " + z.Path
	}
	if c := strings.ToUpper(st.Word(2)); c != "IN" {
		z.Class = c
	}
	word := func(key string) string {
		st, _ := find(block, key)
		return st.Word(1)
	}
	z.Type = zoneType(word("type"))
	if z.InView = word("in-view"); z.InView != "" {
		z.Type = "in-view"
	}
	if z.DLZ = word("dlz"); z.DLZ != "" {
		z.Type = "dlz"
	}
	if z.Type == "" {
		return Zone{}, fmt.Errorf("%s: zone %s has no type; give it one", st.At, n)
	}
	if z.File = word("file"); z.File != "" && !filepath.IsAbs(z.File) {
		z.File = filepath.Join(b.c.Directory, z.File)
	}
	scope := append([][]Statement{block}, outer...)
	b.signing(&z, scope)
	if err := b.access(&z, scope); err != nil {
		return Zone{}, fmt.Errorf("%s: %w", z.Path, err)
	}
	if err := b.peers(&z, scope); err != nil {
		return Zone{}, fmt.Errorf("%s: %w", z.Path, err)
	}
	return z, nil
}

func (b *builder) signing(z *Zone, scope [][]Statement) {
	word := func(key string) string {
		st, _ := inherit(scope, key)
		return st.Word(1)
	}
	z.Format = strings.ToLower(word("masterfile-format"))
	z.Notify = strings.Replace(strings.ToLower(word("notify")), "master-only", "primary-only", 1)
	if z.Type != "primary" && z.Type != "secondary" {
		return
	}
	if z.Policy = word("dnssec-policy"); strings.EqualFold(z.Policy, "none") {
		z.Policy = ""
	}
	z.AutoDNSSEC = strings.ToLower(word("auto-dnssec"))
	z.InlineSigning = truth(word("inline-signing"))
	z.KeyDirectory = word("key-directory")
}

// access resolves the zone's address match lists and its update policy.
func (b *builder) access(z *Zone, scope [][]Statement) error {
	for key, to := range map[string]*[]Match{
		"allow-transfer": &z.Transfer, "allow-query": &z.Query, "allow-update": &z.Update,
		"allow-notify": &z.AcceptNotify, "allow-update-forwarding": &z.Forwarding,
	} {
		st, ok := inherit(scope, key)
		if !ok {
			continue
		}
		list, err := b.matchOf(st)
		if err != nil {
			return err
		}
		*to = list
	}
	st, ok := find(scope[0], "update-policy")
	if !ok {
		return nil
	}
	rules, ok := st.Block()
	if !ok {
		z.UpdatePolicy = []string{st.Word(1)}
	}
	for _, r := range rules {
		z.UpdatePolicy = append(z.UpdatePolicy, r.Text())
	}
	return nil
}

// peers resolves the zone's primaries and whom it notifies.
func (b *builder) peers(z *Zone, scope [][]Statement) error {
	var err error
	for _, key := range []string{"primaries", "masters"} {
		if st, ok := find(scope[0], key); ok {
			if z.Primaries, err = b.l.serversOf(st); err != nil {
				return err
			}
		}
	}
	if st, ok := inherit(scope, "also-notify"); ok {
		if z.AlsoNotify, err = b.l.serversOf(st); err != nil {
			return err
		}
	}
	return nil
}

// zoneType returns today's word for a type; older ones are still accepted by named.
func zoneType(word string) string {
	switch word = strings.ToLower(word); word {
	case "master":
		return "primary"
	case "slave":
		return "secondary"
	}
	return word
}

// find returns the last statement of the list that begins with the word.
func find(list []Statement, word string) (Statement, bool) {
	for _, st := range slices.Backward(list) {
		if strings.EqualFold(st.Word(0), word) {
			return st, true
		}
	}
	return Statement{}, false
}

// inherit returns the statement of the innermost scope that has it.
func inherit(scope [][]Statement, word string) (Statement, bool) {
	for _, list := range scope {
		if st, ok := find(list, word); ok {
			return st, true
		}
	}
	return Statement{}, false
}

func truth(word string) bool {
	switch strings.ToLower(word) {
	case "yes", "true", "1":
		return true
	}
	return false
}
