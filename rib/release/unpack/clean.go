package unpack

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// checkEmpty returns an Exists fault unless the directory is empty: what is there
// belongs to somebody, and clean would remove it.
func checkEmpty(dst *os.Root) error {
	f, err := dst.Open(".")
	if err != nil {
		return fault.Invalid("the target of a release cannot be opened").At(dst.Name()).Because(err)
	}
	defer f.Close() //nolint:errcheck // only read
	names, err := f.Readdirnames(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return fault.Invalid("the target of a release cannot be read").At(dst.Name()).Because(err)
	}
	if len(names) > 0 {
		return fault.Exists("the target of a release is not empty").At(dst.Name()).Try("unpack into a new directory")
	}
	return nil
}

// clean removes everything below dst. Directories that already have their final
// mode are opened first, for an agent that is not root.
func clean(dst *os.Root, dirs []string) error {
	if os.Geteuid() != 0 {
		for _, p := range dirs {
			_ = dst.Chmod(p, 0o700) // it may not be there yet
		}
	}
	f, err := dst.Open(".")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	err = errors.Join(err, f.Close())
	for _, name := range names {
		err = errors.Join(err, dst.RemoveAll(name))
	}
	return err
}

// explain makes err a fault about the release and the place.
func explain(m *manifest.Manifest, dst *os.Root, err error) error {
	what := "release " + m.String() + " could not be unpacked"
	f, isFault := errors.AsType[*fault.Fault](err)
	switch {
	case isFault && f.Remedy == "" && f.Kind == fault.KindCorrupt:
		return fault.Corrupt(what).At(dst.Name()).Because(err).Try("stage it again; wrong chunks are fetched anew")
	case isFault:
		return (&fault.Fault{Kind: f.Kind, What: what, Remedy: ""}).At(dst.Name()).Because(err)
	case errors.Is(err, context.Canceled):
		return (&fault.Fault{Kind: fault.KindCanceled, What: what}).At(dst.Name()).Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Timeout(what).At(dst.Name()).Because(err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.Full(what).At(dst.Name()).Because(err).Try("make room, for example: kaname release prune " + m.App)
	case errors.Is(err, os.ErrPermission):
		return fault.Denied(what).At(dst.Name()).Because(err).Try("give the agent's user the directory, or run the agent as root")
	case errors.Is(err, os.ErrExist):
		return fault.Conflict(what).At(dst.Name()).Because(err).Try("somebody else writes there; stage it again")
	}
	return fault.Internal(what).At(dst.Name()).Because(err)
}
