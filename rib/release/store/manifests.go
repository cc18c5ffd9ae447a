package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/release/manifest"
)

// maxSignature bounds a signature file; minisign's have about 300 bytes.
const maxSignature = 64 << 10

// PutManifest keeps a manifest and returns its ID.
func (s *Store) PutManifest(m *manifest.Manifest) (manifest.Digest, error) {
	text := m.Bytes()
	id := manifest.Sum(text)
	name := path.Join(dirManifests, id.String())
	if _, err := s.root.Stat(name); err == nil {
		return id, nil
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return id, fmt.Errorf("make encoder: %w", err)
	}
	return id, s.keep(name, z.EncodeAll(text, nil))
}

// keep writes a small file and counts it.
func (s *Store) keep(name string, contents []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepLocked(name, contents)
}

func (s *Store) keepLocked(name string, contents []byte) error {
	was := int64(0)
	if info, err := s.root.Stat(name); err == nil {
		was = info.Size()
	}
	if err := host.WriteBytes(s.root, name, 0o600, contents); err != nil {
		return s.full(fmt.Errorf("write %s: %w", name, err))
	}
	s.used += int64(len(contents)) - was
	return nil
}

// drop removes a small file, if it is there, and counts it.
func (s *Store) drop(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropLocked(name)
}

func (s *Store) dropLocked(name string) error {
	info, err := s.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.root.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	s.used -= info.Size()
	return host.SyncDir(s.root, path.Dir(name))
}

// Manifest returns a manifest, verified: a NotFound fault if it is not here, a Corrupt
// one if it is damaged, and then it is removed, so that it is fetched again with the
// pack.
func (s *Store) Manifest(id manifest.Digest) (*manifest.Manifest, error) {
	name := path.Join(dirManifests, id.String())
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("the manifest of release " + id.Short() + " is not in the release store")
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	m, err := decodeManifest(f, id)
	if err != nil {
		bad := fault.Corrupt("the manifest of release " + id.Short() + " is damaged on the disk of this host").Because(err).
			Try("it is fetched again with the release; if this comes back, check the disk")
		return nil, errors.Join(bad, s.drop(name))
	}
	return m, nil
}

func decodeManifest(r io.Reader, id manifest.Digest) (*manifest.Manifest, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4<<30))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, z); err != nil {
		return nil, err
	}
	if manifest.Sum(text.Bytes()) != id {
		return nil, errors.New("its digest is another")
	}
	return manifest.Decode(&text)
}

// PutSignature keeps the signature of a release. It does not verify it.
func (s *Store) PutSignature(id manifest.Digest, signature []byte) error {
	if len(signature) > maxSignature {
		return fault.Invalid(fmt.Sprintf("signature of release %s: %d bytes; at most %d", id.Short(), len(signature), maxSignature))
	}
	return s.keep(path.Join(dirSignatures, id.String()), signature)
}

// Signature returns the signature of a release, or a NotFound fault.
func (s *Store) Signature(id manifest.Digest) ([]byte, error) {
	b, err := s.root.ReadFile(path.Join(dirSignatures, id.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("release " + id.Short() + " has no signature in the release store")
	}
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	return b, nil
}
