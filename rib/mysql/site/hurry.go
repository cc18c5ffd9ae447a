package site

import (
	"context"
	"errors"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/server"
)

// patience is how long a backlog may take to be applied at the server's own pace: most
// are gone by then, and setting another costs as much.
const patience = 150 * time.Millisecond

// calmWithin bounds setting the pace back.
const calmWithin = 2 * time.Second

// applyAll has the server apply what it has received, up to need, as fast as it can: clients
// are waiting for it.
func (s *Site) applyAll(ctx context.Context, need gtid.Set) error {
	short, cancel := context.WithTimeout(ctx, patience)
	err := s.o.Server.Drain(short, need)
	late := short.Err() != nil
	cancel()
	if err == nil || !late || ctx.Err() != nil {
		return err
	}
	if err := s.hurry(ctx); err != nil {
		s.o.Log.Warn("a backlog is applied at the server's own pace", "error", err)
	}
	err = s.o.Server.Drain(ctx, need)
	return errors.Join(err, s.calm(ctx))
}

// hurry keeps the server's pace on disk before it sets another.
func (s *Site) hurry(ctx context.Context) error {
	p, err := s.o.Server.Pace(ctx)
	if err != nil || p == server.Hurried {
		return err
	}
	if err := s.keep(func(k *kept) { k.Pace = &p }); err != nil {
		return err
	}
	return s.o.Server.SetPace(ctx, server.Hurried)
}

// calm sets the server's pace back, if it was changed. Nothing is opened before.
func (s *Site) calm(ctx context.Context) error {
	s.mu.Lock()
	p := s.kept.Pace
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), calmWithin)
	defer cancel()
	if err := s.o.Server.SetPace(ctx, *p); err != nil {
		return err
	}
	return s.keep(func(k *kept) { k.Pace = nil })
}
