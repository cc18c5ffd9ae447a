package archive_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/archive"
)

// tiny is an endless tar of empty files, made while it is read.
type tiny struct {
	total int // entries; then the end of the archive
	made  int
	block [512]byte
	rest  []byte
}

func (r *tiny) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		switch {
		case r.made < r.total:
			r.header()
		case r.made < r.total+2:
			r.block = [512]byte{}
		default:
			return 0, io.EOF
		}
		r.made++
		r.rest = r.block[:]
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// header writes a ustar header (POSIX.1-1988) with its checksum.
func (r *tiny) header() {
	clear(r.block[:])
	b := r.block[:]
	copy(b, fmt.Sprintf("d%03d/file-%d", r.made%1000, r.made))
	copy(b[100:], "0000644\x000001000\x000001000\x0000000000000\x0014570000000\x00        0")
	copy(b[257:], "ustar\x0000")
	copy(b[265:], "deploy")
	copy(b[297:], "deploy")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
}

func TestAMillionTinyEntries(t *testing.T) {
	a, err := archive.Open(&tiny{total: 1_000_000}, "tiny.tar", archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	n := 0
	for ; err == nil; n++ {
		_, _, err = a.Next()
	}
	if !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), "--max-entries") || n != archive.DefaultMaxEntries+1 {
		t.Errorf("after %d entries: %v", n, err)
	}
}

func TestMemoryAnEntry(t *testing.T) {
	const total = 200_000
	a, err := archive.Open(&tiny{total: total}, "tiny.tar", archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for err == nil {
		_, _, err = a.Next()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	entries := a.Entries()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(entries) != total {
		t.Errorf("%d entries", len(entries))
	}
	each := int64(after.HeapAlloc-before.HeapAlloc) / total
	if each > 1024 {
		t.Errorf("%d bytes an entry", each)
	}
	t.Logf("%d bytes an entry", each)
	runtime.KeepAlive(a)
}
