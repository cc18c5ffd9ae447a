package site

import (
	"context"
	"errors"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Order carries out an order and returns when it is done. Orders are done one after the
// other; Freeze interrupts one that only waits (Drain, Level, Rescue), Fence any. An order
// of an epoch that is over is a fault.Conflict, with nothing done; a higher epoch is on
// disk before anything else is.
func (s *Site) Order(ctx context.Context, o order.Order) (order.Done, error) {
	start := time.Now()
	done, err := s.obey(ctx, o)
	done.Took = time.Since(start)
	s.o.Metrics.ordered(o.Verb, err)
	poke(s.stir)
	if err == nil {
		s.o.Log.Info("order carried out", "verb", o.Verb, "epoch", o.Epoch, "how", done.How, "took", done.Took)
		return done, nil
	}
	s.o.Log.Warn("order not carried out", "verb", o.Verb, "epoch", o.Epoch, "error", err)
	return done, s.fault(ctx, o, err)
}

// fault makes what people read of an error.
func (s *Site) fault(ctx context.Context, o order.Order, err error) error {
	what := "order " + string(o.Verb) + " of epoch " + words(o.Epoch)
	where := "server " + s.o.Member
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		if f.Where == "" {
			f.Where = where
		}
		return err
	}
	switch {
	case isOld(err):
		return fault.Conflict(what).At(where).Because(err).Try("another controller decides by now; look again: kaname mysql topology " + o.Topology)
	case errors.Is(err, errInterrupted), errors.Is(context.Cause(ctx), errInterrupted):
		return fault.Conflict(what).At(where).Because(errInterrupted)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Timeout(what).At(where).Because(err)
	case errors.Is(err, server.ErrUndrained):
		return fault.Conflict(what).At(where).Because(err).Try("let it apply what it has received first, or take a copy of another: kaname mysql reclone " + s.o.Member)
	case server.Refused(err):
		return fault.Unavailable(what).At(where).Because(err).Try("start the server")
	}
	return fault.Unavailable(what).At(where).Because(err)
}

func isOld(err error) bool {
	_, ok := errors.AsType[*lease.OldError](err)
	return ok
}

func (s *Site) obey(ctx context.Context, o order.Order) (order.Done, error) {
	if o.Member != s.o.Member {
		return order.Done{}, fault.NotFound("this is the agent of server " + s.o.Member + ", not of " + o.Member)
	}
	if o.Verb == order.Look {
		return s.look(ctx)
	}
	if o.Verb == order.Freeze {
		return s.freeze(ctx, o)
	}
	if err := s.accept(o); err != nil {
		return order.Done{}, err
	}
	if o.Verb == order.Fence {
		how, err := s.closeNow(ctx, "ordered in epoch "+words(o.Epoch), func() bool { return o.Kill })
		return order.Done{How: how}, err
	}
	if o.Verb == order.Reclone {
		return s.reclone(ctx, o)
	}
	do, known := verbs[o.Verb]
	if !known {
		return order.Done{}, fault.Unsupported("this agent does not know the order " + string(o.Verb)).Try("upgrade kaname on this host")
	}
	if o.Within > 0 && do.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Within)
		defer cancel()
	}
	within, done, err := s.desk.take(ctx, do.waits)
	if err != nil {
		return order.Done{}, err
	}
	defer done()
	out, err := do.do(s, within, o)
	if cause := context.Cause(within); err != nil && errors.Is(cause, errInterrupted) {
		err = errors.Join(cause, err)
	}
	if ctx.Err() == nil {
		s.lookAgain(ctx)
	}
	return out, err
}

// verb is how an order is carried out; one that waits can be interrupted by Freeze, and
// ends after Order.Within.
type verb struct {
	do    func(*Site, context.Context, order.Order) (order.Done, error)
	waits bool
}

var verbs = map[order.Verb]verb{
	order.Thaw:     {do: (*Site).thaw},
	order.Drain:    {do: (*Site).drain, waits: true},
	order.Level:    {do: (*Site).level, waits: true},
	order.Promote:  {do: (*Site).promote},
	order.Follow:   {do: (*Site).follow},
	order.Close:    {do: (*Site).close},
	order.Reopen:   {do: (*Site).orderedOpen},
	order.Start:    {do: (*Site).start},
	order.Tune:     {do: (*Site).tune},
	order.Leave:    {do: (*Site).leave},
	order.Prepare:  {do: (*Site).prepare},
	order.Rescue:   {do: (*Site).rescue, waits: true},
	order.SetAside: {do: (*Site).setAside},
}

// belongs refuses an order of another topology, and returns the voter of this one.
func (s *Site) belongs(o order.Order) (*lease.Voter, error) {
	s.mu.Lock()
	to := s.topology
	s.mu.Unlock()
	switch {
	case to != "" && to != o.Topology:
		return nil, fault.Conflict("server " + s.o.Member + " belongs to topology " + to + ", not to " + o.Topology).
			Try("let that one go first: kaname mysql forget " + to)
	case to == "" && o.Record == nil && o.Verb != order.Leave:
		return nil, fault.Conflict("server " + s.o.Member + " belongs to no topology")
	}
	return s.votes(o.Topology), nil
}

// accept takes over the epoch of an order, and its record.
func (s *Site) accept(o order.Order) error {
	v, err := s.belongs(o)
	if err != nil {
		return err
	}
	if o.Record == nil || o.Record.Epoch != o.Epoch {
		if err := v.Adopt(o.Epoch, ""); err != nil {
			return err
		}
		s.apply()
		return nil
	}
	return s.install(o.Record, 0)
}

func (s *Site) look(ctx context.Context) (order.Done, error) {
	self := s.local.Self()
	if !self.Answers { // nor would it now
		return order.Done{Details: &order.Details{Self: self, Partial: true}}, nil
	}
	self, err := s.local.Look(ctx)
	if err != nil {
		return order.Done{Details: &order.Details{Self: self, Partial: true}}, err
	}
	d, err := s.o.Server.Details(ctx)
	if err != nil {
		return order.Done{Details: &order.Details{Self: self, Partial: true}}, nil //nolint:nilerr // Self says how it is
	}
	s.mu.Lock()
	d.Self, d.Aside = self, s.kept.Aside
	s.mu.Unlock()
	return order.Done{Details: &d}, nil
}

// freeze has the epoch on disk and grants the old primary nothing any more before it stops
// the receiver.
func (s *Site) freeze(ctx context.Context, o order.Order) (order.Done, error) {
	if o.Quiet {
		if err := s.quiet(ctx); err != nil {
			return order.Done{}, err
		}
	}
	v, err := s.belongs(o)
	if err != nil {
		return order.Done{}, err
	}
	from := ""
	if o.Record != nil && o.Record.Move != nil {
		from = o.Record.Move.From
	}
	granted, err := v.Freeze(o.Epoch, from)
	if err != nil {
		return order.Done{}, err
	}
	if err := s.accept(o); err != nil {
		return order.Done{}, err
	}
	promised := time.Now()
	s.desk.cancel(false)
	within, done, err := s.desk.take(ctx, false)
	if err != nil {
		return order.Done{}, err
	}
	defer done()
	frozen, err := s.o.Server.Freeze(within)
	if err != nil {
		return order.Done{}, err
	}
	frozen.Short = s.shortOf()
	frozen.Granted = granted + time.Since(promised)
	s.lookAgain(ctx)
	return order.Done{Frozen: &frozen, How: "receives no more"}, nil
}

// quiet refuses when the receiver has had news of the primary within Policy.Silence.
func (s *Site) quiet(ctx context.Context) error {
	rec, _ := s.Record()
	self, err := s.local.Look(ctx)
	if err != nil {
		return err
	}
	limit := topology.DefaultPolicy().Silence
	if rec != nil {
		limit = rec.Policy.Silence
	}
	if r := self.Replica; r != nil && r.Receiving && r.NoNews < limit {
		return fault.Conflict("the primary is not dead: " + r.Source + " sent something " + r.NoNews.Round(time.Millisecond).String() + " ago")
	}
	return nil
}

func (s *Site) thaw(ctx context.Context, o order.Order) (order.Done, error) {
	if err := s.votes(o.Topology).Thaw(o.Epoch); err != nil {
		return order.Done{}, err
	}
	return order.Done{How: "receives again"}, s.o.Server.StartReceiver(ctx)
}

func (s *Site) close(ctx context.Context, o order.Order) (order.Done, error) {
	if err := s.keep(func(k *kept) { k.Closed, k.Ordered = "ordered in epoch "+words(o.Epoch), o.Epoch }); err != nil {
		return order.Done{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Within+closeMore)
	defer cancel()
	s.local.Commits(false)
	end, err := s.o.Server.CloseWrites(ctx, o.Within)
	if err != nil {
		_ = s.keep(func(k *kept) { k.Closed, k.Ordered = "", 0 }) // it is open still
		return order.Done{}, err
	}
	s.mu.Lock()
	s.opened = time.Time{}
	s.mu.Unlock()
	text := end.String()
	return order.Done{Frozen: &topology.Frozen{Executed: text, Received: text, Applies: true}, How: "takes no more writes"}, nil
}

// closeMore is how long closing may take after those who go on were cut.
const closeMore = time.Second

func (s *Site) orderedOpen(ctx context.Context, _ order.Order) (order.Done, error) {
	if err := s.leased(ctx); err != nil {
		return order.Done{}, err
	}
	return order.Done{How: "open"}, s.reopen(ctx)
}

func (s *Site) start(ctx context.Context, _ order.Order) (order.Done, error) {
	if len(s.o.Start) == 0 {
		return order.Done{}, fault.Unsupported("no command is configured that starts server " + s.o.Member).Try("start it by hand, or set mysql.servers.start on its host")
	}
	if s.process.State().Process == topology.Running {
		return order.Done{How: "it runs already"}, nil
	}
	_, err := host.Run(ctx, host.Command{Args: s.o.Start, Timeout: time.Minute, Background: true})
	return order.Done{How: "started"}, err
}

func (s *Site) tune(ctx context.Context, o order.Order) (order.Done, error) {
	return order.Done{How: "set"}, s.o.Server.SemiSync(ctx, o.Waits, o.Acks, o.Acker)
}

func (s *Site) prepare(ctx context.Context, _ order.Order) (order.Done, error) {
	notes, err := s.o.Server.Prepare(ctx)
	return order.Done{Notes: notes, How: "prepared"}, err
}

func (s *Site) leave(context.Context, order.Order) (order.Done, error) {
	return order.Done{How: "it belongs to no topology any more"}, s.forget()
}

// positions says what the server has, as Frozen.
func (s *Site) positions(ctx context.Context) (*topology.Frozen, error) {
	executed, received, err := s.o.Server.Positions(ctx)
	if err != nil {
		return nil, err
	}
	return &topology.Frozen{
		Executed: executed.String(), Received: received.String(), Applies: executed.Contains(received), Short: s.shortOf(),
	}, nil
}

func (s *Site) need(ctx context.Context, text string) (gtid.Set, error) {
	flavour, err := s.o.Server.Flavour(ctx)
	if err != nil {
		return gtid.Set{}, err
	}
	return gtid.Parse(flavour, text)
}
