package plane

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
)

// bucketLeases holds the leases, by name.
const bucketLeases = "plane.leases"

// leaseDocs is the leaseStore that stands on documents.
type leaseDocs struct {
	docs Docs[leaseRecord]
	name string
}

// get implements leaseStore.
func (d leaseDocs) get(ctx context.Context) (leaseVersion, error) {
	rec, env, err := d.docs.read(ctx, d.name)
	switch {
	case fault.Is(err, fault.KindNotFound):
		return leaseVersion{}, nil
	case err != nil:
		return leaseVersion{}, err
	case env.Del:
		return leaseVersion{rev: rec.seq, gone: true}, nil
	}
	v := leaseVersion{rev: rec.seq}
	if err := json.Unmarshal(env.V, &v.leaseRecord); err != nil {
		return v, fault.Corrupt("lease " + d.name + " cannot be read").Because(err).Try("was it written by a newer kaname? Then upgrade this core")
	}
	return v, nil
}

// swap implements leaseStore.
func (d leaseDocs) swap(ctx context.Context, r leaseRecord, rev uint64) (uint64, error) {
	doc, err := d.docs.write(ctx, Doc[leaseRecord]{Key: d.name, Value: r, Revision: rev})
	return doc.Revision, err
}

// hints implements leaseStore: writers tell which subject they wrote.
func (d leaseDocs) hints() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	subject := d.docs.subject(d.name)
	sub, err := d.docs.p.link.nc.Subscribe(subjectNote+streamDoc, func(m *nats.Msg) {
		if string(m.Data) == subject {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return c, func() {} // the poll each second has to do
	}
	return c, func() { _ = sub.Unsubscribe() } // fails only when the connection is closed
}
