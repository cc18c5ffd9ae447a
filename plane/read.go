package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kaname.dev/kaname/fault"
)

// last returns the newest message of the subject, asked from the stream's
// leader, or a NotFound fault.
func (s *store) last(ctx context.Context, stream, subject string) (record, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	req, _ := json.Marshal(map[string]string{"last_by_subj": subject})
	for n := 0; ; n++ {
		rec, err := s.get(ctx, stream, req)
		if err == nil || !retryable(err) {
			return rec, err
		}
		if !pause(ctx, n) {
			return record{}, fault.Unavailable("the store does not answer").At(s.o.Host).Because(err).Try("are most of the cores up?")
		}
	}
}

func (s *store) get(ctx context.Context, stream string, req []byte) (record, error) {
	try, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	reply, err := s.l.nc.RequestWithContext(try, "$JS.API.STREAM.MSG.GET."+stream, req)
	if err != nil {
		return record{}, err
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Time    time.Time `json:"time"`
			Data    []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &got); err != nil {
		return record{}, fmt.Errorf("read the store's answer: %w", err)
	}
	if got.Error != nil {
		if got.Error.Code == 404 {
			return record{}, fault.NotFound("not in the store")
		}
		return record{}, got.Error
	}
	m := got.Message
	return record{stream, m.Subject, m.Seq, m.Time, m.Data}, nil
}

// batch returns up to a few hundred messages of the stream whose subject matches
// the filter, from sequence from on, and whether the end was reached. It may be
// answered by any replica.
func (s *store) batch(ctx context.Context, stream, filter string, from uint64) (recs []record, end bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	inbox := s.l.nc.NewRespInbox()
	sub, err := s.l.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone, and the subscription with it
	req, _ := json.Marshal(map[string]any{"seq": max(from, 1), "next_by_subj": filter, "batch": 512, "max_bytes": 4 << 20})
	if err := s.l.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, req); err != nil {
		return nil, false, err
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			rec, err := directRecord(stream, msg)
			if err != nil {
				return nil, false, err
			}
			recs = append(recs, rec)
		case "204": // end of batch
			return recs, msg.Header.Get("Nats-Num-Pending") == "0", nil
		case "404":
			return recs, true, nil
		case "503":
			return nil, false, nats.ErrNoResponders
		default:
			return nil, false, fmt.Errorf("read stream %s from %d: %s %s", stream, from, status, msg.Header.Get("Description"))
		}
	}
}

func directRecord(stream string, msg *nats.Msg) (record, error) {
	seq, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return record{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return record{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return record{stream, msg.Header.Get(jetstream.SubjectHeader), seq, at, msg.Data}, nil
}

// scan gives all messages that match the filter, from a sequence on, in order.
func (s *store) scan(ctx context.Context, stream, filter string, from uint64, give func(record) bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for n := 0; ; {
		recs, end, err := s.batch(ctx, stream, filter, from)
		if err != nil {
			if n++; !retryable(err) || !pause(ctx, n) {
				return err
			}
			continue
		}
		for _, rec := range recs {
			from = rec.seq + 1
			if !give(rec) {
				return nil
			}
		}
		if end {
			return nil
		}
	}
}

// lastToken returns what follows the last dot of a subject.
func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }
