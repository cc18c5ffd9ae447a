package judge

import (
	"errors"
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// fewest is how many observers agree on silence at least: the controller and one witness.
const fewest = 2

// leaseLook is the time between two questions of a primary's agent for its lease, which
// must outlive the loss of some.
const leaseLook = 250 * time.Millisecond

// Check says what in a policy cannot be meant, or makes failovers false or impossible: all
// of it, joined. Nil when there is nothing.
func Check(p topology.Policy) error {
	var list []error
	add := func(format string, args ...any) { list = append(list, fmt.Errorf("policy: "+format, args...)) }
	switch p.Durability {
	case topology.Lossless:
		if p.Acks < 1 {
			add("acks is %d: no replica would have to have a write; choose 1 or more, or the durability %s", p.Acks, topology.Async)
		}
	case topology.Async:
	default:
		add("durability is %q; choose %s or %s", p.Durability, topology.Lossless, topology.Async)
	}
	switch p.Unprovable {
	case topology.Wait:
	case topology.PromoteAfter:
		if p.PromoteAfter < p.Silence {
			add("promote-after is %v, shorter than the silence of %v that it begins with; choose minutes", p.PromoteAfter, p.Silence)
		}
	default:
		add("unprovable is %q; choose %s or %s", p.Unprovable, topology.Wait, topology.PromoteAfter)
	}
	b := DefaultBudget(fewest)
	if least, err := b.Silence(); err != nil {
		list = append(list, err)
	} else if p.Silence < least {
		add("silence is %v: a healthy primary would be taken for a silent one %.2g times a year instead of %g, or after a pause of %v; choose %v or more",
			p.Silence, b.False(int(p.Silence/b.Interval)), b.PerYear, b.Pause, least)
	}
	if p.Stuck < p.Silence {
		add("stuck is %v, shorter than silence, %v: a slow commit would count before a server that does not answer; choose %v or more", p.Stuck, p.Silence, p.Silence)
	}
	if p.Lease < Least*leaseLook {
		add("lease is %v: the loss of two questions would close a healthy primary; choose %v or more", p.Lease, Least*leaseLook)
	}
	if p.Drain <= 0 {
		add("drain is %v: no candidate could apply what it has received; choose 30s", p.Drain)
	}
	if p.Cooldown < 0 || p.MaxLag < 0 {
		add("cooldown is %v and max-lag %v; neither can be negative", p.Cooldown, p.MaxLag)
	}
	return errors.Join(list...)
}

// CheckRecord says what Check says, and where the policy does not fit the members.
func CheckRecord(r *topology.Record) error {
	err := Check(r.Policy)
	if n := len(r.Ackers(r.Primary)); r.Policy.Durability == topology.Lossless && r.Policy.Acks > n {
		err = errors.Join(err, fmt.Errorf("policy of %s: acks is %d, but %d replicas acknowledge, so that no write would ever end; lower it to %d, or give fewer members the role %s",
			r.Name, r.Policy.Acks, n, n, topology.Observer))
	}
	if r.Policy.Durability == topology.Lossless && r.Policy.Acks > 1 && r.Flavour == gtid.MariaDB {
		// https://mariadb.com/kb/en/semisynchronous-replication/
		err = errors.Join(err, fmt.Errorf("policy of %s: acks is %d, but a MariaDB waits for one replica at most; lower it to 1", r.Name, r.Policy.Acks))
	}
	return err
}
