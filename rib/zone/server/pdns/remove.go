package pdns

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/cenkalti/backoff/v5"

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
		return fail(d.remove(ctx, names[i]))
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

// remove deletes one zone. A server whose backend is busy with another deletion answers 422,
// "backend delete failed", and may have deleted the zone all the same: so it is asked a few
// times, and a zone that is missing is gone.
func (d *Driver) remove(ctx context.Context, n name.Name) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := d.api.Delete(ctx, n)
		if errors.Is(err, pdnsapi.ErrMissing) {
			return struct{}{}, nil
		}
		if r, is := errors.AsType[*pdnsapi.Refusal](err); err != nil && (!is || r.Status != http.StatusUnprocessableEntity) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxTries(4), backoff.WithBackOff(backoff.NewExponentialBackOff()))
	return err
}
