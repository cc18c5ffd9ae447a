package bind

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// fileOf returns the path of a zone's file, relative to named's directory. A view's
// name stands in it, for views may have the same zones.
func (d *driver) fileOf(n name.Name, id string) string {
	return path.Join(folder, id, d.o.View, n.File()+".db")
}

// tagOf returns the template's ID in the file of a zone, "" when the zone was not
// made by kaname.
func (d *driver) tagOf(z named.Zone) string {
	rest := z.File
	if i := strings.LastIndex("/"+rest, "/"+folder+"/"); i >= 0 {
		rest = rest[i+len(folder)+1:]
	} else {
		return ""
	}
	id, _, ok := strings.Cut(rest, "/")
	if !ok || rest != strings.TrimPrefix(d.fileOf(z.Name, id), folder+"/") {
		return ""
	}
	return id
}

// block writes the statements of a zone.
func (d *driver) block(v *named.View, n name.Name, t server.Template) (string, error) {
	if len(t.Primaries) == 0 {
		return "", fmt.Errorf("%w: template %q names no primary", server.ErrTemplate, t.Name)
	}
	var b strings.Builder
	file, err := conf.Quote(d.fileOf(n, t.ID(kind)))
	if err != nil {
		return "", fmt.Errorf("%w: template: %w", server.ErrTemplate, err)
	}
	fmt.Fprintf(&b, "type secondary; file %s; primaries { ", file)
	for _, p := range t.Primaries {
		fmt.Fprintf(&b, "%s port %d", p.Address.Addr().Unmap(), p.Address.Port())
		if p.Key != "" {
			q, err := conf.Quote(p.Key)
			if err != nil {
				return "", fmt.Errorf("%w: key: %w", server.ErrTemplate, err)
			}
			if !v.Keys[named.KeyName(p.Key)] { // named takes the zone, and never transfers it
				return "", fmt.Errorf("%w: named.conf has no key %q; add it and run rndc reconfig", server.ErrTemplate, p.Key)
			}
			b.WriteString(" key " + q)
		}
		b.WriteString("; ")
	}
	b.WriteString("}; allow-transfer { ")
	for _, who := range t.Transfer {
		item, err := match(who)
		if err != nil {
			return "", fmt.Errorf("%w: transfer %q of template %q: %w", server.ErrTemplate, who, t.Name, err)
		}
		b.WriteString(item + "; ")
	}
	if len(t.Transfer) == 0 {
		b.WriteString("none; ")
	}
	b.WriteString("};")
	return options(b.String(), t)
}

// options adds the template's own words, and switches off what a secondary sends to
// the NS of every zone unless they say otherwise.
func options(block string, t server.Template) (string, error) {
	own := strings.TrimSpace(t.Options[kind])
	list, err := conf.Parse(own)
	if err == nil {
		err = conf.Check(own)
	}
	if err != nil {
		return "", fmt.Errorf("%w: options of template %q: %w", server.ErrTemplate, t.Name, err)
	}
	for _, st := range list {
		switch w := st.Word(0); w {
		case "type", "file", "primaries", "masters", "allow-transfer":
			return "", fmt.Errorf("%w: options of template %q have %q, which kaname writes itself", server.ErrTemplate, t.Name, w)
		}
	}
	if _, says := conf.Find(list, "notify"); !says {
		block += " notify no;"
	}
	if own != "" {
		block += " " + strings.Join(strings.Fields(own), " ")
	}
	return block, nil
}

// match writes one item of an address match list.
func match(who string) (string, error) {
	if key, ok := strings.CutPrefix(who, "key "); ok {
		q, err := conf.Quote(strings.TrimSpace(key))
		return "key " + q, err
	}
	if a, err := netip.ParseAddr(who); err == nil && a.Zone() == "" {
		return a.Unmap().String(), nil
	}
	if p, err := netip.ParsePrefix(who); err == nil {
		return p.Masked().String(), nil
	}
	return "", errors.New(`is no address, no prefix and no "key NAME"`)
}
