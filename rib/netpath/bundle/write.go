package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// Write makes a bundle of a cloud and its hosts.
func Write(w io.Writer, c *intent.Cloud, hosts map[string]*facts.Host) error {
	out, err := NewWriter(w)
	if err != nil {
		return err
	}
	if err = out.Cloud(c); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if err = out.Host(hosts[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

// Writer makes a bundle piece by piece, so that only one host needs to be in memory. After
// an error, and without Close, what it has written is no bundle.
type Writer struct {
	zip      *zstd.Encoder
	tar      *tar.Writer
	manifest Manifest
}

// NewWriter begins a bundle. The caller adds the cloud, each host once, and closes it.
func NewWriter(w io.Writer) (*Writer, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	return &Writer{
		zip: z, tar: tar.NewWriter(z),
		manifest: Manifest{Version: Version, Made: time.Now().UTC().Truncate(time.Second), Files: map[string]string{}},
	}, nil
}

// Cloud adds what Neutron says.
func (w *Writer) Cloud(c *intent.Cloud) error {
	raw, err := clean(c)
	if err != nil {
		return err
	}
	return w.add(intentName, raw)
}

// Host adds a host, without secrets.
func (w *Writer) Host(h *facts.Host) error {
	if !hostName.MatchString(h.Name) {
		return fault.Invalid(fmt.Sprintf("%.100q is no name of a host", h.Name))
	}
	raw, err := clean(h)
	if err != nil {
		return err
	}
	return w.add(hostsPrefix+h.Name+hostsSuffix, raw)
}

// Close writes the manifest and ends the bundle. It does not close the writer below.
func (w *Writer) Close() error {
	raw, err := json.Marshal(w.manifest)
	if err != nil {
		return err
	}
	if err = w.add(manifestName, raw); err != nil {
		return err
	}
	if err = w.tar.Close(); err != nil {
		return err
	}
	return w.zip.Close()
}

func (w *Writer) add(name string, raw []byte) error {
	if _, twice := w.manifest.Files[name]; twice {
		return fault.Invalid(name + " is in the bundle already")
	}
	sum := sha256.Sum256(raw)
	w.manifest.Files[name] = hex.EncodeToString(sum[:])
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(raw)), Mode: 0o600, ModTime: w.manifest.Made}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.tar.Write(raw)
	return err
}
