package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kaname.dev/kaname/fault"
)

// Recover says what Open does with a store that lost acknowledged writes.
type Recover string

// What can be done.
const (
	RecoverNot     Recover = ""            // refuse it
	RecoverRestore Recover = "restore"     // bring documents and audit back from the seal's copy
	RecoverAccept  Recover = "accept-loss" // go on with what is left
)

// restore makes a damaged stream anew from what is left of it and the seal's
// copy. Its sequences go on above all former ones, so that a revision that
// somebody remembers never fits a later document. A crash on the way leaves the
// seal as it was: the next start finds the loss again and can repeat this.
func (s *store) restore(ctx context.Context, in *inspection) error {
	whole, top, err := s.whole(in)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, in); err != nil {
		return fmt.Errorf("remove the damaged stream %s: %w", in.stream, err)
	}
	cfg := s.config(in.stream)
	cfg.FirstSeq = top + 1
	if err := s.ensure(ctx, cfg); err != nil {
		return err
	}
	fresh := map[uint64]record{}
	for rec := range sortedRecords(whole) {
		seq, err := s.publish(ctx, rec, "", nil)
		if err != nil {
			return fmt.Errorf("restore %s: %w", rec.subject, err)
		}
		rec.seq, rec.time = seq, time.Now()
		fresh[seq] = rec
	}
	if err := s.seal.replace(in.stream, sortedRecords(fresh)); err != nil {
		return err
	}
	s.log.Warn("stream is restored from the seal", "stream", in.stream, "messages", len(fresh), "lost_before", len(in.lost))
	return nil
}

// whole merges what is left of a stream with what the seal keeps, and returns the
// highest sequence that either has seen.
func (s *store) whole(in *inspection) (map[uint64]record, uint64, error) {
	kept, err := s.seal.contents(in.stream)
	if err != nil {
		return nil, 0, fmt.Errorf("read the seal: %w", err)
	}
	out := map[uint64]record{}
	top := s.seal.most[in.stream] // nobody else is there yet
	for seq, rec := range in.stored {
		top = max(top, seq)
		if k, ok := kept[seq]; !ok || digestOf(k.data) == digestOf(rec.data) {
			out[seq] = rec
		}
	}
	for _, l := range in.lost {
		rec, ok := kept[l.seq]
		if !ok {
			return nil, 0, fault.Corrupt("the seal's copy of " + l.subject + " is damaged too").At(s.seal.path(in.stream)).
				Try("put a backup of the state directory in place, or start once with recover set to accept-loss")
		}
		out[l.seq] = rec
	}
	if in.stream == streamDoc {
		newest := map[string]uint64{}
		for seq, rec := range out {
			newest[rec.subject] = max(newest[rec.subject], seq)
		}
		for seq, rec := range out {
			if newest[rec.subject] != seq {
				delete(out, seq)
			}
		}
		return out, top, nil
	}
	seen := map[string]bool{}
	for rec := range sortedRecords(out) { // the time and order of the audit are part of it
		var env envelope
		if err := json.Unmarshal(rec.data, &env); err != nil {
			return nil, 0, fault.Corrupt("audit record cannot be read").Because(err)
		}
		if seen[env.W] { // restored twice
			delete(out, rec.seq)
			continue
		}
		seen[env.W] = true
		if env.T.IsZero() {
			env.T = rec.time
		}
		if rec.data, err = json.Marshal(env); err != nil {
			return nil, 0, err
		}
		out[rec.seq] = rec
	}
	return out, top, nil
}

// remove deletes a damaged stream; what the engine did not even recognise is moved
// aside.
func (s *store) remove(ctx context.Context, in *inspection) error {
	if !in.absent {
		return s.js.DeleteStream(ctx, in.stream)
	}
	if s.o.Mode != Embedded {
		return nil
	}
	dir := filepath.Join(s.o.storeDir(), "jetstream", "$G", "streams", in.stream)
	err := os.Rename(dir, filepath.Join(s.o.Dir, fmt.Sprintf("damaged-%s-%d", in.stream, time.Now().Unix())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// config returns how a stream is set.
func (s *store) config(stream string) jetstream.StreamConfig {
	for _, c := range s.streams() {
		if c.Name == stream {
			return c
		}
	}
	return jetstream.StreamConfig{Name: stream}
}
