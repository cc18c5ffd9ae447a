package plane

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"
)

// TestCompactedSealSaysTheSame adds from many sides while it is compacted, and
// reads it back.
func TestCompactedSealSaysTheSame(t *testing.T) {
	dir := t.TempDir()
	s, err := openSeal(dir)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 64, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				seq := uint64(i*writers + w + 1) //nolint:gosec // small
				for _, stream := range []string{streamDoc, streamEvent} {
					rec := record{stream, fmt.Sprintf("kn.v1.doc.b.%d", w), seq, time.Unix(int64(i), 0), fmt.Appendf(nil, "%d %d", w, i)}
					if err := s.add(rec); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 5 {
		if err := s.compactOne(streamDoc); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	s.drop(streamEvent, 9000)
	if err := s.compact(); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openSeal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close() //nolint:errcheck // it was only read
	again.drop(streamEvent, 9000)
	if !reflect.DeepEqual(again.docs, s.docs) || !reflect.DeepEqual(again.runs, s.runs) || len(again.docs) != writers {
		t.Fatalf("%d documents and %d events, want %d and %d", len(again.docs), len(again.runs[streamEvent]), len(s.docs), len(s.runs[streamEvent]))
	}
	kept, err := again.contents(streamDoc)
	if err != nil || len(kept) != writers {
		t.Fatalf("contents of %d documents, %v", len(kept), err)
	}
	if again.grew[streamDoc] > 2*writers+4096 {
		t.Errorf("the file has %d records for %d documents", again.grew[streamDoc], writers)
	}
}
