package bundle

import (
	"errors"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/facts"
)

// PackHost writes one host as it travels between machines: JSON without secrets, compressed
// by zstd.
func PackHost(h *facts.Host) ([]byte, error) {
	raw, err := clean(h)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(raw, nil), nil
}

// UnpackHost reads what PackHost wrote, or somebody who pretends to, with the limits of an
// entry of a bundle.
func UnpackHost(packed []byte) (*facts.Host, error) { return unpack(packed, Limits{}.filled()) }

func unpack(packed []byte, l Limits) (*facts.Host, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(l.File))) //nolint:gosec // it is positive
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(packed, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fault.Full("the facts of a host are larger than a host's can be").Because(err)
	}
	if err != nil {
		return nil, fault.Corrupt("the facts of a host were cut off or damaged").Because(err)
	}
	h := &facts.Host{}
	if err := decode(raw, "the facts of a host", l, h); err != nil {
		return nil, err
	}
	if err := supported(h.Version, facts.Version, "the facts of host "+h.Name); err != nil {
		return nil, err
	}
	return h, nil
}
