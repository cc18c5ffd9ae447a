package site

import (
	"context"
	"slices"
	"strings"
	"time"
)

// mendEvery is the least time between two attempts to start a receiver.
const mendEvery = time.Second

// mend starts a receiver that has stopped because its source was being closed. The agent
// that does so cuts the connections of replicas: a MariaDB in the middle of an event, whose
// checksum then does not fit; a MySQL while they ask it what they ask at first, or it
// answers that it is offline. Their receivers stop for good then, instead of connecting
// again, and a primary that opens again would wait for acknowledgements in vain.
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
	s.o.Log.Warn("the receiver had stopped while its source was closed, and is started again", "why", s.local.Self().Replica.ReceiveErr)
	return s.o.Server.StartReceiver(ctx)
}

// torn reports whether the receiver is to be started: it stopped over an event that it could
// not take, and nobody wants it to stand still.
func (s *Site) torn() bool {
	self := s.local.Self()
	r := self.Replica
	if !self.Answers || r == nil || r.Receiver != "No" || !slices.ContainsFunc(cut, func(text string) bool { return strings.Contains(r.ReceiveErr, text) }) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record != nil && !s.voter.Promise().Frozen && r.Source == s.sourceOf()
}

// cut are in the texts of errors over which a receiver stops when its source is closed.
var cut = []string{
	"could not queue event",           // 1595, ER_SLAVE_RELAY_LOG_WRITE_FAILURE
	"offline mode",                    // 3032, ER_SERVER_OFFLINE_MODE, within 1593
	"when it try to get the value of", // 1593, ER_SLAVE_FATAL_ERROR: the connection was cut meanwhile
	"failed registering on master",    // 1597
	"failed registering on source",    //
}

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
