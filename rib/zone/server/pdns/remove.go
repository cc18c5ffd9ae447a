package pdns

import (
	"context"
	"errors"
	"fmt"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Remove deletes zones with their records, and looks whether they are gone.
func (d *Driver) Remove(ctx context.Context, zones []server.Removal) []error {
	errs := make([]error, len(zones))
	names := make([]name.Name, len(zones))
	for i, z := range zones {
		names[i] = z.Name
	}
	have, err := d.find(ctx, names)
	if err != nil {
		return all(errs, fail(err))
	}
	each(errs, func(i int) error {
		z, is := have[names[i]]
		if !is {
			return nil
		}
		if owned, _ := ownership(z); !owned && !zones[i].Adopt {
			return fmt.Errorf("%w: it is of kind %s with account %q", server.ErrForeign, z.Kind, z.Account)
		}
		// A busy server may have deleted it and said that it had not: then it is missing.
		if err := d.api.Delete(ctx, names[i]); err != nil && !errors.Is(err, pdnsapi.ErrMissing) {
			return fail(err)
		}
		return nil
	})
	var gone []name.Name
	for i, err := range errs {
		if err == nil {
			gone = append(gone, names[i])
		}
	}
	if have, err = d.find(ctx, gone); err != nil {
		return all(errs, fail(err))
	}
	for i, n := range names {
		if _, is := have[n]; is && errs[i] == nil {
			errs[i] = errors.New("the server said that the zone is deleted, and has it still")
		}
	}
	return errs
}
