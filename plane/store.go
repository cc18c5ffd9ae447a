package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/fault"
)

// The streams.
const (
	streamDoc   = "DOC"
	streamEvent = "EV"
	streamAudit = "AUDIT"
)

// Times of one request to the store, and of all attempts together when the
// caller's context has no end. A cluster that lost its leader needs 5 to 9 s.
const (
	tryFor   = 5 * time.Second
	lookFor  = time.Second // of a question that is not even answered while there is no leader
	giveUpIn = 30 * time.Second
)

// store is the log behind documents and events: append with an expected
// revision, get the last of a subject, scan a stream from a sequence on.
type store struct {
	o   Options
	l   *link
	js  jetstream.JetStream
	log *slog.Logger

	seal    *seal
	unclean bool // the process before this one did not close the store

	mu     sync.Mutex        // guards the fields below
	fresh  map[string]record // written here within about a minute, by subject
	pruned time.Time         // when fresh was last freed of older ones
}

// record is one stored message.
type record struct {
	stream, subject string
	seq             uint64
	time            time.Time
	data            []byte // the envelope
}

// envelope is what is stored. W is unique to one write: after a timeout, reading
// it back tells whether the write in the store is one's own.
type envelope struct {
	W   string          `json:"w"`
	V   json.RawMessage `json:"v,omitempty"`
	Del bool            `json:"del,omitempty"`
	T   time.Time       `json:"t,omitzero"` // when it was first stored, if it was restored since
}

// openStore compares the store with the seal, and then readies the streams.
func openStore(ctx context.Context, o Options, l *link, log *slog.Logger) (_ *store, err error) {
	js, err := jetstream.New(l.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	s := &store{o: o, l: l, js: js, log: log, fresh: map[string]record{}}
	if s.seal, err = openSeal(o.sealDir()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.seal.close() // the first error is the one to tell
		}
	}()
	if s.unclean, err = exists(s.openMark()); err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	for _, cfg := range s.streams() {
		if err := s.ensure(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return s, os.WriteFile(s.openMark(), []byte("the plane is open, or was not closed cleanly\n"), 0o600)
}

// openMark is a file that is there while the store is open.
func (s *store) openMark() string { return filepath.Join(s.o.Dir, "open") }

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// streams says how each stream is set. Ages and sizes are not the engine's to
// enforce: what may go is decided, written down and then removed by trim, so that
// everything else that is missing is a loss.
func (s *store) streams() []jetstream.StreamConfig {
	base := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Replicas: s.o.replicas(), AllowDirect: true,
		Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
	}
	doc, ev, audit := base, base, base
	doc.Name, doc.Subjects, doc.MaxMsgsPerSubject = streamDoc, []string{subjectDoc + "*.*"}, 1
	ev.Name, ev.Subjects = streamEvent, []string{subjectLog + ">"}
	audit.Name, audit.Subjects, audit.DenyDelete, audit.DenyPurge = streamAudit, []string{subjectAudit + ">"}, true, true
	return []jetstream.StreamConfig{doc, ev, audit}
}

// ensure makes the stream or sets it as configured, waiting for a cluster to
// form as long as ctx allows.
func (s *store) ensure(ctx context.Context, cfg jetstream.StreamConfig) error {
	for n := 0; ; n++ {
		try, cancel := context.WithTimeout(ctx, 2*lookFor)
		_, err := s.js.CreateOrUpdateStream(try, cfg)
		cancel()
		if err == nil {
			return nil
		}
		if !retryable(err) && s.o.Mode != Cluster || !pause(ctx, n) {
			return fault.Unavailable("stream " + cfg.Name + " of the plane cannot be opened").At(s.o.Host).Because(err).
				Try("are most of the cores up? See the log")
		}
	}
}

// append stores v under the subject. expect, if not nil, is the revision that
// the subject must have (0: none). The result is the new revision. The write
// survives lost answers: an attempt that may have been done is looked up by its
// write id before it is repeated.
func (s *store) append(ctx context.Context, stream, subject string, env envelope, expect *uint64) (record, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	env.W = ulid.Make().String()
	data, err := json.Marshal(env)
	if err != nil {
		return record{}, fmt.Errorf("encode %s: %w", subject, err)
	}
	if len(data) > maxPayload-4096 {
		return record{}, fault.Full(fmt.Sprintf("%s is %d bytes; the plane takes %d", subject, len(data), maxPayload-4096)).
			Try("keep bulk data out of the plane: store its digest")
	}
	rec := record{stream: stream, subject: subject, data: data}
	for n := 0; ; n++ {
		seq, err := s.publish(ctx, rec, env.W, expect)
		var wrong *wrongRevision
		switch {
		case err == nil:
			rec.seq, rec.time = seq, time.Now()
			return rec, s.stored(rec)
		case errors.As(err, &wrong):
			if n == 0 { // no attempt of ours can have been done before
				return record{}, err
			}
			return s.decide(ctx, rec, env.W, *expect)
		case !retryable(err):
			return record{}, err
		}
		if !pause(ctx, n) {
			return record{}, fault.Timeout("the store did not answer in time; the write may have been done").
				At(s.o.Host).Because(err).Try("read it back before repeating it; are most of the cores up?")
		}
	}
}

// decide tells what became of a write that was tried more than once and met
// another revision than expected: it may have met itself.
func (s *store) decide(ctx context.Context, rec record, w string, expect uint64) (record, error) {
	now, err := s.last(ctx, rec.stream, rec.subject)
	if err != nil {
		return record{}, fault.Timeout("the store lost its answer to a write, which may have been done").Because(err)
	}
	var env envelope
	if json.Unmarshal(now.data, &env) == nil && env.W == w {
		return now, s.stored(now)
	}
	// Another write stands there. It may have replaced ours or been first.
	return record{}, fault.Timeout(fmt.Sprintf("the answer to a write at revision %d got lost and the document is at %d now; the write may have been done", expect, now.seq)).
		Try("read it back before repeating it")
}

// wrongRevision is the store's refusal of a write whose expectation does not hold.
type wrongRevision struct{ text string }

func (e *wrongRevision) Error() string { return e.text }

// publish is one attempt.
func (s *store) publish(ctx context.Context, rec record, w string, expect *uint64) (uint64, error) {
	msg := nats.NewMsg(rec.subject)
	msg.Data = rec.data
	msg.Header.Set(jetstream.ExpectedStreamHeader, rec.stream)
	if expect != nil {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(*expect, 10))
	} else {
		if w != "" {
			msg.Header.Set(jetstream.MsgIDHeader, w) // a repeated append is answered with the first one's sequence
		}
	}
	try, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	reply, err := s.l.nc.RequestMsgWithContext(try, msg)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("read the store's answer %.80q: %w", reply.Data, err)
	}
	if ack.Error != nil {
		return 0, refusal(ack.Error)
	}
	return ack.Seq, nil
}

// Error codes of JetStream, from server/errors.json of nats-server.
const (
	codeWrongLast      = 10071 // wrong last sequence
	codeWrongLastConst = 10164 // the same, while an earlier one is being committed
	codeNoSpace        = 10047 // insufficient resources
	codeStoreFailed    = 10077 // message not stored
	codeNoSpaceCluster = 10023
)

func refusal(e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeWrongLast, codeWrongLastConst:
		return &wrongRevision{e.Description}
	case codeNoSpace, codeNoSpaceCluster:
		return fault.Full("the plane's store is full").Because(e).Try("give it more room (plane.max_store) or keep events for a shorter time")
	default:
		return e
	}
}

// retryable reports whether another attempt may succeed.
func retryable(err error) bool {
	if transient(err) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return true
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == 503 || api.Code == 408
	}
	return false
}

// stored is called for each acknowledged write before the caller hears of it.
func (s *store) stored(rec record) error {
	if err := s.seal.add(rec); err != nil {
		return err
	}
	if rec.stream == streamDoc && s.o.replicas() > 1 {
		s.remember(rec)
	}
	// A wake-up for followers; they look by themselves every second anyway.
	_ = s.l.nc.Publish(subjectNote+rec.stream, []byte(rec.subject))
	return nil
}

// pause waits before the next attempt, from 20 ms up to 1 s, and reports whether
// there is time for one.
func pause(ctx context.Context, n int) bool {
	t := time.NewTimer(min(20*time.Millisecond<<min(n, 6), time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// bounded gives ctx an end if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, giveUpIn)
}

// close is called when nothing is written any more.
func (s *store) close() {
	if s == nil {
		return
	}
	if err := s.seal.close(); err != nil {
		s.log.Warn("the seal is not closed", "err", err)
		return
	}
	if err := os.Remove(s.openMark()); err != nil {
		s.log.Warn("the mark of an open store stays", "err", err)
	}
}
