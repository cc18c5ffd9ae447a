package move

import (
	"context"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Rejoin has a member replicate from the primary of r, in peace, if the primary has all that
// the member has; else it changes nothing and returns an error that names what is extra.
// It can be called at any time for a member that does not follow: nothing is saved, and a
// move that begins meanwhile has a higher epoch, against which the order is refused.
func Rejoin(ctx context.Context, h Hands, r *topology.Record, member string) error {
	x := r.Member(member)
	if x == nil || member == r.Primary || r.Member(r.Primary) == nil {
		return fault.NotFound("topology " + r.Name + " has no replica " + member)
	}
	if r.Move != nil {
		return fault.Conflict("the primary of topology " + r.Name + " is being moved")
	}
	m := newMover(h, r)
	f := m.followed(x, gtid.Set{})
	if err := f.follow(ctx, m); err != nil {
		return fault.Unavailable(member + " cannot follow " + r.Primary + " of topology " + r.Name).Because(err)
	}
	return nil
}
