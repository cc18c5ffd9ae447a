package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// Opaque is a file that comes back bit-exact, under a name that may be any text of
// 1 to 1,024 bytes.
type Opaque struct {
	Name        string            `json:"name"`
	ContentType string            `json:"content_type,omitempty"`
	Size        int64             `json:"size"`    // bytes
	Content     manifest.Digest   `json:"content"` // of the bytes; zero for an empty file
	Created     time.Time         `json:"created"`
	Release     manifest.Digest   `json:"release"` // manifest of the one-file release that carries it
	Pack        manifest.Digest   `json:"pack"`    // its full pack
	Meta        map[string]string `json:"meta,omitempty"`
}

// opaqueApp and opaquePath stand in the manifest of an opaque file. Neither its name
// nor its time is there: the same bytes make the same pack, whatever they are called.
const (
	opaqueApp  = "opaque"
	opaquePath = "contents"
)

func opaqueFile(name string) string { return path.Join(dirOpaque, manifest.Sum([]byte(name)).String()) }

// loadOpaque reads what opaque files there are. A record that is damaged is removed.
func (s *Store) loadOpaque(context.Context) error {
	names, err := s.names(dirOpaque)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := path.Join(dirOpaque, name)
		b, err := s.root.ReadFile(file)
		var o Opaque
		if err == nil {
			err = json.Unmarshal(b, &o)
		}
		if err == nil && opaqueFile(o.Name) != file {
			err = errors.New("the file has another name than the record")
		}
		if err != nil {
			s.options.Log.Warn("a damaged record of an opaque file is removed", "record", name, "cause", err)
			s.used -= int64(len(b))
			if err := s.root.Remove(file); err != nil {
				return fmt.Errorf("remove record: %w", err)
			}
			continue
		}
		s.opaque[o.Name] = o
	}
	return nil
}

// CreateOpaque reads r to its end and keeps the bytes under the name in o, of which Size,
// Content, Release and Pack are filled in. A name that is taken, also in a race, gives an
// Exists fault; on any error nothing stays behind.
func (s *Store) CreateOpaque(ctx context.Context, o Opaque, r io.Reader) (Opaque, error) {
	if o.Name == "" || len(o.Name) > 1024 {
		return o, fault.Invalid(fmt.Sprintf("opaque file: a name of %d bytes; 1 to 1024", len(o.Name)))
	}
	if _, err := s.Opaque(o.Name); err == nil {
		return o, opaqueTaken(o.Name)
	}
	m, p, err := s.ingest(ctx, &oneFile{r: r}, manifest.Header{App: opaqueApp, Kind: manifest.Opaque})
	if err != nil {
		return o, err
	}
	o.Size, o.Release, o.Pack = m.Entries[0].Size, p.index.Release, p.id
	if d := m.Entries[0].Digest; d != nil {
		o.Content = *d
	}
	if o.Created.IsZero() {
		o.Created = s.options.Now().UTC()
	}
	return s.adopt(o, m, false)
}

// AdoptOpaque keeps the name of an opaque file whose pack was fetched from another
// host; o is complete. The pack must be whole. A name that is taken by other bytes is
// replaced.
func (s *Store) AdoptOpaque(ctx context.Context, o Opaque) (Opaque, error) {
	p, err := s.Pack(o.Pack)
	if err != nil {
		return o, err
	}
	if !p.Complete() {
		return o, fault.Conflict("opaque file " + o.Name + " is not complete here")
	}
	r, err := pack.NewReader(ctx, p.index, p, nil, pack.ReaderOptions{Workers: 1})
	if err != nil {
		return o, err
	}
	defer r.Close()
	m, err := r.Manifest(ctx)
	if err != nil {
		return o, err
	}
	content := manifest.Digest{}
	if m.Kind == manifest.Opaque && m.Entries[0].Digest != nil {
		content = *m.Entries[0].Digest
	}
	if m.Kind != manifest.Opaque || content != o.Content || m.Entries[0].Size != o.Size || p.index.Release != o.Release {
		return o, fault.Corrupt("opaque file " + o.Name + ": its pack holds something else").Try("fetch it again")
	}
	return s.adopt(o, m, true)
}

// adopt writes the record, and removes the pack if that fails and nobody else needs it.
func (s *Store) adopt(o Opaque, m *manifest.Manifest, replace bool) (Opaque, error) {
	if _, err := s.PutManifest(m); err != nil {
		return o, errors.Join(err, s.dropOpaquePack(o))
	}
	s.mu.Lock()
	was, ok := s.opaque[o.Name]
	var err error
	switch {
	case ok && !replace:
		err = opaqueTaken(o.Name)
	case s.packs[o.Pack] == nil:
		// The same bytes were deleted under another name in this moment.
		err = fault.Conflict(fmt.Sprintf("opaque file %q was deleted while it was stored", o.Name)).Try("store it again")
	default:
		err = s.recordOpaque(o)
	}
	s.mu.Unlock()
	if err != nil {
		return o, errors.Join(err, s.dropOpaquePack(o))
	}
	if ok && was.Pack != o.Pack {
		return o, s.dropOpaquePack(was)
	}
	return o, nil
}

// recordOpaque writes the record; s.mu is held.
func (s *Store) recordOpaque(o Opaque) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := s.keepLocked(opaqueFile(o.Name), b); err != nil {
		return err
	}
	s.opaque[o.Name] = o
	return nil
}

func opaqueTaken(name string) error {
	return fault.Exists(fmt.Sprintf("opaque file %q is here already", name)).Try("delete it first")
}

// Opaque returns what is known of an opaque file, or a NotFound fault.
func (s *Store) Opaque(name string) (Opaque, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.opaque[name]
	if !ok {
		return Opaque{}, fault.NotFound(fmt.Sprintf("opaque file %q is not in the release store", name))
	}
	return o, nil
}

// OpaqueFiles lists the opaque files, sorted by name.
func (s *Store) OpaqueFiles() []Opaque {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Opaque, 0, len(s.opaque))
	for _, o := range s.opaque {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Opaque) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// OpenOpaque opens the bytes of an opaque file for reading and seeking. Reading fails
// once ctx ends. A chunk that is damaged gives a Corrupt fault, and is missing from then
// on.
func (s *Store) OpenOpaque(ctx context.Context, name string) (io.ReadSeekCloser, error) {
	o, err := s.Opaque(name)
	if err != nil {
		return nil, err
	}
	p, err := s.Pack(o.Pack)
	if err != nil {
		return nil, err
	}
	m, err := s.Manifest(o.Release)
	if err != nil {
		return nil, err
	}
	c, err := pack.NewContents(ctx, p.index, m, here{p})
	if err != nil {
		return nil, err
	}
	if o.Size == 0 {
		c.Close()
		return emptyFile{strings.NewReader("")}, nil
	}
	f, err := c.OpenFile(o.Content)
	if err != nil {
		c.Close()
		return nil, err
	}
	return opaqueReader{f, c}, nil
}

type emptyFile struct{ *strings.Reader }

func (emptyFile) Close() error { return nil }

// opaqueReader frees the decompressor with the file.
type opaqueReader struct {
	*pack.ContentsFile
	c *pack.Contents
}

func (r opaqueReader) Close() error { r.c.Close(); return nil }

// DeleteOpaque removes an opaque file, or returns a NotFound fault.
func (s *Store) DeleteOpaque(name string) error {
	s.mu.Lock()
	o, ok := s.opaque[name]
	var err error
	if ok {
		delete(s.opaque, name)
		err = s.dropLocked(opaqueFile(name))
	}
	s.mu.Unlock()
	if !ok {
		return fault.NotFound(fmt.Sprintf("opaque file %q is not in the release store", name))
	}
	return errors.Join(err, s.dropOpaquePack(o))
}

// dropOpaquePack removes the pack of an opaque file unless another name has the same.
func (s *Store) dropOpaquePack(o Opaque) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.opaque {
		if other.Pack == o.Pack {
			return nil
		}
	}
	return errors.Join(s.removePack(o.Pack), s.dropLocked(path.Join(dirManifests, o.Release.String())))
}

// oneFile is the Source of an opaque file.
type oneFile struct {
	r     io.Reader
	given bool
	sum   func() (manifest.Digest, int64)
}

func (f *oneFile) Next() (manifest.Entry, io.Reader, error) {
	if f.given {
		return manifest.Entry{}, nil, io.EOF
	}
	f.given = true
	h := newCounter(f.r)
	f.sum = h.sum
	return manifest.Entry{Path: opaquePath, Type: manifest.File, Size: -1}, h, nil
}

func (f *oneFile) Digest() manifest.Digest {
	d, n := f.sum()
	if n == 0 {
		return manifest.Digest{}
	}
	return d
}

func (f *oneFile) Manifest(h manifest.Header) (*manifest.Manifest, error) {
	d, n := f.sum()
	h.Version, h.Created = d.String(), time.Unix(0, 0).UTC()
	e := manifest.Entry{Path: opaquePath, Type: manifest.File, Mode: 0o644, MTime: h.Created, Size: n}
	if n > 0 {
		e.Digest = &d
	}
	m := &manifest.Manifest{Header: h, Entries: []manifest.Entry{e}}
	m.Tally()
	return m, m.Validate()
}
