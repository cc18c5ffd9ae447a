package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// floor is the document that says which events were removed on purpose: all
// before Seq. It is written before they go, so that the seal can tell old age
// from loss.
type floor struct {
	Seq uint64 `json:"seq"`
}

const (
	bucketFloor = "plane.floor"
	trimEvery   = 10 * time.Minute
)

var floorSubject = subjectDoc + keyToken(bucketFloor) + "." + keyToken(streamEvent)

// housekeep removes events that have become too old or too many, and what is out of
// date in the seal, until the plane closes. All cores do it; it is done once.
func (p *Plane) housekeep(ctx context.Context) {
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		if err := p.trim(ctx, time.Now().Add(-p.o.Keep)); err != nil && ctx.Err() == nil {
			p.log.Warn("old events are not removed", "err", err)
		}
		if err := p.store.seal.compact(); err != nil && ctx.Err() == nil {
			p.log.Warn("the seal is not compacted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// trim removes the events that are older than a time, and a tenth of the events
// when they take more than half of the store.
func (p *Plane) trim(ctx context.Context, before time.Time) error {
	s := p.store
	st, err := s.js.Stream(ctx, streamEvent)
	if err != nil {
		return fmt.Errorf("look at the events: %w", err)
	}
	state := st.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	to, err := s.firstSince(ctx, before, state.LastSeq+1)
	if err != nil {
		return err
	}
	if state.Bytes > uint64(p.o.MaxStore/2) { //nolint:gosec // MaxStore is positive
		to = max(to, state.FirstSeq+(state.LastSeq-state.FirstSeq)/10+1)
	}
	if to <= state.FirstSeq {
		return nil
	}
	d, err := Documents[floor](p, bucketFloor).Update(ctx, streamEvent, func(f *floor) error {
		f.Seq = max(f.Seq, to)
		return nil
	})
	if err != nil {
		return err
	}
	if err := st.Purge(ctx, jetstream.WithPurgeSequence(d.Value.Seq)); err != nil {
		return fmt.Errorf("remove old events: %w", err)
	}
	s.seal.drop(streamEvent, d.Value.Seq)
	return nil
}

// firstSince returns the sequence of the first event that is not older than t, end
// if there is none.
func (s *store) firstSince(ctx context.Context, t time.Time, end uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	req, err := json.Marshal(map[string]any{"start_time": t.UTC(), "next_by_subj": ">"})
	if err != nil {
		return 0, err
	}
	m, err := s.l.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+streamEvent, req)
	if err != nil {
		return 0, fmt.Errorf("look for old events: %w", err)
	}
	switch m.Header.Get("Status") {
	case "":
		rec, err := directRecord(streamEvent, m)
		return rec.seq, err
	case "404":
		return end, nil
	default:
		return 0, errors.New("look for old events: " + m.Header.Get("Status") + " " + m.Header.Get("Description"))
	}
}
