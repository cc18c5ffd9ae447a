package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kaname.dev/kaname/fault"
)

// inspection is what a stream holds, compared with its seal.
type inspection struct {
	stream string
	stored map[uint64]record // all messages, by sequence
	sealed int               // writes that must be there
	lost   []loss
	extra  []record // not sealed: their writers were never answered
	absent bool     // there is no such stream
}

// loss is an acknowledged write that is not in the store as it was.
type loss struct {
	subject string
	sealed
	altered bool // something else stands in its place
}

// inspect reads a whole stream back and compares it with the seal. floor is the
// sequence before which events were removed on purpose.
func (s *store) inspect(ctx context.Context, stream string, floor uint64) (*inspection, error) {
	in := &inspection{stream: stream, stored: map[uint64]record{}}
	var err error
	if in.absent, err = s.absent(ctx, stream); err != nil {
		return nil, err
	}
	if !in.absent {
		err = s.scan(ctx, stream, ">", 1, func(rec record) bool {
			in.stored[rec.seq] = rec
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("read stream %s back: %w", stream, err)
		}
	}
	s.seal.mu.Lock()
	defer s.seal.mu.Unlock()
	if stream == streamDoc {
		in.compareDocs(s.seal.docs)
	} else {
		in.compareRun(s.seal.runs[stream], floor)
	}
	slices.SortFunc(in.lost, func(a, b loss) int { return cmp.Compare(a.seq, b.seq) })
	slices.SortFunc(in.extra, func(a, b record) int { return cmp.Compare(a.seq, b.seq) })
	return in, nil
}

// compareDocs wants each sealed subject to have the sealed message or a newer one:
// a document is replaced by its next version.
func (in *inspection) compareDocs(docs map[string]sealed) {
	newest := map[string]record{}
	for _, rec := range in.stored {
		if rec.seq > newest[rec.subject].seq {
			newest[rec.subject] = rec
		}
	}
	in.sealed = len(docs)
	for subject, want := range docs {
		have, ok := newest[subject]
		switch {
		case !ok || have.seq < want.seq:
			in.lost = append(in.lost, loss{subject, want, false})
		case have.seq == want.seq && digestOf(have.data) != want.digest:
			in.lost = append(in.lost, loss{subject, want, true})
		case have.seq > want.seq:
			in.extra = append(in.extra, have)
		}
	}
	for subject, have := range newest {
		if _, ok := docs[subject]; !ok {
			in.extra = append(in.extra, have)
		}
	}
}

// compareRun wants each sealed event from floor on.
func (in *inspection) compareRun(run map[uint64]sealed, floor uint64) {
	for seq, want := range run {
		if seq < floor {
			continue
		}
		in.sealed++
		have, ok := in.stored[seq]
		if !ok || digestOf(have.data) != want.digest {
			in.lost = append(in.lost, loss{have.subject, want, ok})
		}
	}
	for seq, have := range in.stored {
		if _, ok := run[seq]; !ok {
			in.extra = append(in.extra, have)
		}
	}
}

// absent reports whether the stream is not there at all, waiting for a cluster to
// be able to tell.
func (s *store) absent(ctx context.Context, stream string) (bool, error) {
	for n := 0; ; n++ {
		try, cancel := context.WithTimeout(ctx, lookFor)
		_, err := s.js.Stream(try, stream)
		cancel()
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return true, nil
		case !retryable(err) || !pause(ctx, n):
			return false, fault.Unavailable("the plane's store does not answer").At(s.o.Host).Because(err).
				Try("a cluster needs most of its cores up")
		}
	}
}

// floorIn finds the floor of the events in the documents as they are stored.
func floorIn(docs *inspection) uint64 {
	var newest record
	for _, rec := range docs.stored {
		if rec.subject == floorSubject && rec.seq > newest.seq {
			newest = rec
		}
	}
	var env envelope
	var f floor
	if json.Unmarshal(newest.data, &env) == nil {
		_ = json.Unmarshal(env.V, &f) // a floor that cannot be read is none, and the check stricter
	}
	return f.Seq
}

// settle compares the store with the seal before anything is written, and refuses
// a store that lost something unless told how to recover.
func (s *store) settle(ctx context.Context) error {
	start := time.Now()
	all, err := s.inspectAll(ctx)
	if err != nil {
		return err
	}
	var lost, sealed, extra int
	for _, in := range all {
		lost, sealed, extra = lost+len(in.lost), sealed+in.sealed, extra+len(in.extra)
	}
	if lost > 0 {
		if s.o.Recover == RecoverNot {
			return s.refuse(all)
		}
		s.log.Warn("the store has lost acknowledged writes", "lost", lost, "of", sealed, "recover", s.o.Recover)
	}
	for _, in := range all {
		if err := s.amend(ctx, in); err != nil {
			return err
		}
	}
	if s.unclean {
		s.log.Warn("the plane was not stopped cleanly last time; all acknowledged writes are there", "acknowledged", sealed,
			"adopted", extra, "torn_bytes_of_seal", s.seal.torn, "took", time.Since(start).Round(time.Millisecond))
	}
	if s.seal.bad > 0 {
		s.log.Warn("the seal itself was damaged; what it still says agrees with the store, and it is written anew", "places", s.seal.bad)
	}
	return nil
}

// inspectAll looks at all streams; a replica that lags behind is given time.
func (s *store) inspectAll(ctx context.Context) ([]*inspection, error) {
	for n := 0; ; n++ {
		docs, err := s.inspect(ctx, streamDoc, 0)
		if err != nil {
			return nil, err
		}
		all, lost := []*inspection{docs}, len(docs.lost)
		for _, stream := range []string{streamEvent, streamAudit} {
			in, err := s.inspect(ctx, stream, floorIn(docs)*b2u(stream == streamEvent))
			if err != nil {
				return nil, err
			}
			all, lost = append(all, in), lost+len(in.lost)
		}
		if lost == 0 || s.o.replicas() == 1 || n > 15 || !pause(ctx, 6) {
			return all, nil
		}
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// refuse says what is missing and how to go on.
func (s *store) refuse(all []*inspection) error {
	names := map[string]string{streamDoc: "documents", streamEvent: "events", streamAudit: "audit records"}
	var parts []string
	for _, in := range all {
		if len(in.lost) == 0 {
			continue
		}
		altered := 0
		for _, l := range in.lost {
			altered += int(b2u(l.altered))
		}
		text := fmt.Sprintf("%d of %d %s (stream %s", len(in.lost), in.sealed, names[in.stream], in.stream)
		if in.absent {
			text += ", which is gone"
		}
		if altered > 0 {
			text += fmt.Sprintf(", %d of them altered", altered)
		}
		if in.stream == streamDoc {
			text += ", such as " + docName(in.lost[0].subject)
		}
		parts = append(parts, text+")")
	}
	return fault.Corrupt("the store came back without what was acknowledged: " + strings.Join(parts, ", ") + " are lost or damaged").
		At(s.o.storeDir()).
		Try("stop kaname, keep a copy of that directory, look at the disk; then put a backup in its place, " +
			"or start once with recover set to restore (documents and audit come back from the seal in " + s.seal.dir +
			", lost events stay lost) or to accept-loss (go on with what is left)")
}

// docName returns bucket and key of a document's subject, for people.
func docName(subject string) string {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(subject, subjectDoc), ".")
	return fmt.Sprintf("%s %q", keyOfToken(bucket), keyOfToken(key))
}

// amend brings seal and stream together again.
func (s *store) amend(ctx context.Context, in *inspection) error {
	switch {
	case len(in.lost) > 0 && s.o.Recover == RecoverRestore && keepsData(in.stream):
		return s.restore(ctx, in)
	case len(in.lost) > 0, s.seal.bad > 0, len(in.extra) > 64:
		for _, l := range in.lost {
			s.log.Warn("given up", "stream", in.stream, "subject", l.subject, "seq", l.seq)
		}
		return s.seal.replace(in.stream, sortedRecords(in.stored))
	}
	for _, rec := range in.extra {
		if err := s.seal.add(rec); err != nil {
			return err
		}
	}
	return nil
}

// sortedRecords gives the records in the order of their sequences.
func sortedRecords(m map[uint64]record) func(yield func(record) bool) {
	return func(yield func(record) bool) {
		for _, seq := range slices.Sorted(maps.Keys(m)) {
			if !yield(m[seq]) {
				return
			}
		}
	}
}
