package swarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/fault"
)

// testIndex is the index of a testPack.
type testIndex struct {
	Size   int      `json:"size"` // bytes of each chunk
	Chunks []string `json:"chunks"`
}

// testPack is a pack with one file per chunk: the plainest thing that satisfies Pack, survives a
// kill and verifies. The product's pack is in package store.
type testPack struct {
	dir   string
	index testIndex
	raw   []byte

	mu      sync.Mutex
	have    *bitset.BitSet
	changed chan struct{}
	puts    []int // chunks stored by this process, in their order
}

// newTestIndex cuts deterministic bytes into n chunks of a size.
func newTestIndex(n, size int) testIndex {
	ix := testIndex{Size: size}
	for i := range n {
		sum := sha256.Sum256(testChunk(i, size))
		ix.Chunks = append(ix.Chunks, hex.EncodeToString(sum[:]))
	}
	return ix
}

func testChunk(i, size int) []byte {
	b := make([]byte, 0, size+32)
	sum := sha256.Sum256([]byte(fmt.Sprint("chunk", i)))
	for len(b) < size {
		b = append(b, sum[:]...)
		sum = sha256.Sum256(sum[:])
	}
	return b[:size]
}

// openTestPack opens the pack in dir with what is there already.
func openTestPack(dir string, ix testIndex) (*testPack, error) {
	raw, err := json.Marshal(ix)
	if err != nil {
		return nil, err
	}
	p := &testPack{dir: dir, index: ix, raw: raw, have: bitset.New(uint(len(ix.Chunks))), changed: make(chan struct{})}
	for i := range ix.Chunks {
		if _, err := os.Stat(p.path(i)); err == nil {
			p.have.Set(uint(i))
		}
	}
	return p, nil
}

// fill stores all chunks, as on the origin.
func (p *testPack) fill() error {
	for i := range p.index.Chunks {
		if err := p.Put(context.Background(), i, testChunk(i, p.index.Size)); err != nil {
			return err
		}
	}
	return nil
}

func (p *testPack) path(i int) string { return filepath.Join(p.dir, fmt.Sprintf("%06d", i)) }

func (p *testPack) ID() string {
	sum := sha256.Sum256(p.raw)
	return hex.EncodeToString(sum[:])
}

func (p *testPack) Index() ([]byte, error) { return p.raw, nil }
func (p *testPack) Chunks() int            { return len(p.index.Chunks) }
func (p *testPack) Size(int) int           { return p.index.Size }

func (p *testPack) Have() *bitset.BitSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Clone()
}

func (p *testPack) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *testPack) Put(_ context.Context, i int, wire []byte) error {
	sum := sha256.Sum256(wire)
	if hex.EncodeToString(sum[:]) != p.index.Chunks[i] {
		return fault.Corrupt(fmt.Sprintf("chunk %d of the pack is not what it should be", i))
	}
	tmp := p.path(i) + ".part"
	if err := os.WriteFile(tmp, wire, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.path(i)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have.Set(uint(i))
	p.puts = append(p.puts, i)
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

func (p *testPack) Open(i int) (io.ReadCloser, error) { return os.Open(p.path(i)) }

// stored returns how many chunks this process has put.
func (p *testPack) stored() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.puts)
}

// complete reports whether all chunks are there and right.
func (p *testPack) complete() error {
	for i := range p.index.Chunks {
		b, err := os.ReadFile(p.path(i))
		if err != nil {
			return err
		}
		if !bytes.Equal(b, testChunk(i, p.index.Size)) {
			return fmt.Errorf("chunk %d differs", i)
		}
	}
	return nil
}
