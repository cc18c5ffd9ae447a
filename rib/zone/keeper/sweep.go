package keeper

import (
	"context"
	"fmt"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/name"
)

// sweep forgets zones whose quarantine has ended.
func (r *reign) sweep(ctx context.Context) error {
	now, quarantine := r.k.o.Now(), r.k.o.Settings().Quarantine
	r.mu.Lock()
	var list []*origin
	for _, o := range r.sources {
		list = append(list, o)
	}
	r.mu.Unlock()
	for _, o := range list {
		if err := r.sweepOne(ctx, o, func() []name.Name {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.sweepable(o, now, quarantine)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reign) sweepOne(ctx context.Context, o *origin, find func() []name.Name) error {
	r.taking.Lock()
	defer r.taking.Unlock()
	drop := find()
	if len(drop) == 0 {
		return nil
	}
	doc := o.doc.Value
	return r.store(ctx, o, &doc, &change{drop: drop})
}

// sourceName reports whether a text can name a source.
func sourceName(s string) bool {
	for _, c := range s {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

// ParseZone reads a zone's name as people write it; the fault says what is wrong with it
// and how it is written.
func ParseZone(text string) (name.Name, error) {
	n, err := name.Parse(text)
	if err != nil {
		return "", fault.Invalid(fmt.Sprintf("zone name %q", text)).Because(err).Try("write it as in a zone file: example.jp")
	}
	return n, nil
}
