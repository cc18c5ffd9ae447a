package site

import (
	"context"
	"strings"
	"time"
)

// mendEvery is the least time between two attempts to start a receiver.
const mendEvery = 2 * time.Second

// mend starts a receiver that has stopped for a torn event. A MariaDB whose agent closes it
// cuts the connections of replicas, sometimes in the middle of an event; the replica then
// stops for good, with a checksum that does not fit, instead of connecting again. A
// primary that opens again would wait for its acknowledgement in vain.
func (s *Site) mend(ctx context.Context) error {
	if !s.torn() || time.Since(s.mended) < mendEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, openFor)
	defer cancel()
	ctx, done, err := s.desk.take(ctx, true)
	if err != nil {
		return err
	}
	defer done()
	s.lookAgain(ctx)
	if !s.torn() {
		return nil
	}
	s.mended = time.Now()
	s.o.Log.Warn("the receiver had stopped over a torn event, and is started again", "why", s.local.Self().Replica.ReceiveErr)
	return s.o.Server.StartReceiver(ctx)
}

// torn reports whether the receiver is to be started: it stopped over an event that it could
// not take, and nobody wants it to stand still.
func (s *Site) torn() bool {
	self := s.local.Self()
	r := self.Replica
	if !self.Answers || r == nil || r.Receiver != "No" || !strings.Contains(r.ReceiveErr, tornEvent) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record != nil && !s.voter.Promise().Frozen && r.Source == s.sourceOf()
}

// tornEvent is in the text of error 1595 (ER_SLAVE_RELAY_LOG_WRITE_FAILURE).
const tornEvent = "could not queue event"

// sourceOf is the address that the server is to replicate from; mu is held.
func (s *Site) sourceOf() string {
	m := s.record.Member(s.o.Member)
	from := s.record.Primary
	if m != nil && m.Source != "" {
		from = m.Source
	}
	if p := s.record.Member(from); p != nil && from != s.o.Member {
		return p.Address
	}
	return ""
}
