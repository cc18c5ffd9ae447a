package binlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Logs are the binary logs of a server on this host, running or not.
type Logs struct {
	Flavour string
	Index   string // the index file, @@log_bin_index
	Dir     string // what relative names in it are relative to, @@datadir
}

// Find finds the binary logs in a data directory, where they are unless the server was told
// otherwise: by an index file whose logs are not relay logs.
func Find(flavour, datadir string) (Logs, error) {
	indexes, err := filepath.Glob(filepath.Join(datadir, "*.index"))
	if err != nil {
		return Logs{}, fmt.Errorf("data directory %s: %w", datadir, err)
	}
	var found []Logs
	for _, index := range indexes {
		l := Logs{Flavour: flavour, Index: index, Dir: datadir}
		if relay, err := l.relay(); err == nil && !relay {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return Logs{}, fmt.Errorf("data directory %s has %d binary logs by its index files %v, not one; name @@log_bin_index", datadir, len(found), indexes)
	}
	return found[0], nil
}

func (l Logs) relay() (bool, error) {
	names, err := l.files()
	if err != nil || len(names) == 0 {
		return false, errors.Join(err, io.EOF)
	}
	for _, name := range names {
		f, err := open(name)
		if err != nil {
			continue
		}
		f.close()
		return f.relay, nil
	}
	return false, io.EOF
}

// files returns the logs' paths, the oldest first.
func (l Logs) files() ([]string, error) {
	f, err := os.Open(l.Index)
	if err != nil {
		return nil, fmt.Errorf("index of binary logs: %w", err)
	}
	defer f.Close()
	var names []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name := strings.TrimSpace(sc.Text())
		if name == "" {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(l.Dir, name)
		}
		names = append(names, name)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("index of binary logs %s: %w", l.Index, err)
	}
	return names, nil
}

// PurgedError says that transactions are no longer in the logs.
type PurgedError struct {
	Index   string
	Missing gtid.Set
}

func (e *PurgedError) Error() string {
	return fmt.Sprintf("binary logs of %s: %s is no longer there; copy the data from a server instead", e.Index, e.Missing)
}

// Tail reads the transactions that a set does not contain, in their order. A transaction that
// is not whole at the very end, as kill -9 leaves it, is left out: nobody was told that it
// was committed. An error ends the sequence: *PurgedError before anything when older ones
// are needed than there are, or a corrupt log, by file and offset, after what could be read.
func Tail(ctx context.Context, logs Logs, have gtid.Set) iter.Seq2[Transaction, error] {
	return logs.pick(ctx, func(t gtid.Set) bool { return !have.Contains(t) }, func(before gtid.Set) (bool, gtid.Set) {
		missing := before.Minus(have)
		return missing.Empty(), missing
	})
}

// Extra reads the transactions of a server that are in extra, gtid.Errants.All of it, and that
// primary does not have. It ends as Tail does, but logs that have been purged are no
// error.
func Extra(ctx context.Context, logs Logs, extra, primary gtid.Set) iter.Seq2[Transaction, error] {
	return logs.pick(ctx, func(t gtid.Set) bool { return gtid.Among(t, extra, primary) },
		func(gtid.Set) (bool, gtid.Set) { return false, gtid.Set{} })
}

// pick reads the transactions that are wanted. from says whether a log can be the first to
// read, by what was there before it, and what is missing otherwise.
func (l Logs) pick(ctx context.Context, want func(gtid.Set) bool, from func(before gtid.Set) (bool, gtid.Set)) iter.Seq2[Transaction, error] {
	return func(yield func(Transaction, error) bool) {
		names, err := l.start(from)
		for i, name := range names {
			if err != nil {
				break
			}
			var more bool
			if more, err = l.read(ctx, name, i == len(names)-1, want, yield); err == nil && !more {
				return
			}
		}
		if err != nil {
			yield(Transaction{}, err)
		}
	}
}

// start returns the logs that have to be read.
func (l Logs) start(from func(gtid.Set) (bool, gtid.Set)) ([]string, error) {
	names, err := l.files()
	if err != nil {
		return nil, err
	}
	var missing gtid.Set
	for i, name := range slices.Backward(names) {
		before, told, err := l.before(name)
		if err != nil && (!errors.Is(err, errTorn) || i < len(names)-1) {
			return nil, err
		}
		if !told {
			continue // it was just begun: the one before it tells
		}
		var ok bool
		if ok, missing = from(before); ok {
			return names[i:], nil
		}
	}
	if !missing.Empty() {
		return nil, &PurgedError{Index: l.Index, Missing: missing}
	}
	return names, nil
}

// before returns what was committed before a log began, if the log tells.
func (l Logs) before(name string) (set gtid.Set, told bool, err error) {
	f, err := open(name)
	if err != nil {
		return set, false, err
	}
	defer f.close()
	for {
		e, err := f.next(false)
		if errors.Is(err, io.EOF) {
			return set, false, nil
		}
		if err != nil {
			return set, false, err
		}
		switch {
		case e.Type == typePrevious || e.Type == typeGTIDList:
			if set, err = before(e); err != nil {
				return set, false, f.bad("%w", err)
			}
			return set, true, nil
		case e.isGTID():
			return set, false, nil
		case e.Type == typeEncryption:
			return set, false, f.bad("it is encrypted (encrypt_binlog); let its server send it, or start the server")
		}
	}
}
