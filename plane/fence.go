package plane

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/journal"
)

// fence is the highest epoch that this host has seen of each lease, on disk. It
// is what makes a lease safe: a holder that does not know yet that it has lost the
// lease finds the door shut, whatever the clocks say.
type fence struct {
	log *journal.Log

	mu     sync.Mutex // guards epochs, also while one is written: nobody passes meanwhile
	epochs map[string]Epoch
}

// epochRecord is a line of the file.
type epochRecord struct {
	Lease string `json:"lease"`
	Epoch Epoch  `json:"epoch"`
}

func openFence(path string, log *slog.Logger) (*fence, error) {
	f := &fence{epochs: map[string]Epoch{}}
	lines := 0
	var found journal.Found
	var err error
	f.log, found, err = journal.Open(path, func(b []byte) error {
		var r epochRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("read the epochs: %w", err)
		}
		f.epochs[r.Lease] = max(f.epochs[r.Lease], r.Epoch)
		lines++
		return nil
	})
	if found.Damaged > 0 {
		log.Error("the file of epochs is damaged: a former holder of a lease may be obeyed until the present one calls", "file", path, "places", found.Damaged)
	}
	if err != nil || lines <= 2*len(f.epochs)+1024 {
		return f, err
	}
	return f, f.log.Rewrite(func(yield func([]byte) bool) {
		for lease, epoch := range f.epochs {
			b, err := json.Marshal(epochRecord{lease, epoch})
			if err != nil || !yield(b) {
				return
			}
		}
	})
}

// raise lets an epoch pass and remembers it, or refuses one that is lower than
// another seen before.
func (f *fence) raise(lease string, epoch Epoch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch seen := f.epochs[lease]; {
	case epoch < seen:
		return fault.Conflict(fmt.Sprintf("the order was given under epoch %d of lease %s, but epoch %d has been seen here: its sender is not the holder any more", epoch, lease, seen)).
			Try("ask who holds the lease now, and leave the work to it")
	case epoch == seen:
		return nil
	}
	b, err := json.Marshal(epochRecord{lease, epoch})
	if err == nil {
		err = f.log.Append(b)
	}
	if err != nil {
		return fault.Unavailable("the epoch cannot be written down, so the order is not done").Because(err).Try("is the disk full or read-only?")
	}
	f.epochs[lease] = epoch
	return nil
}

func (f *fence) close() {
	if f != nil {
		_ = f.log.Close() // each record was synced when it was written
	}
}
