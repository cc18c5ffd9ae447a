// Package directory is a source that watches a directory of zone files: each file is a
// zone, named as the file says inside or as it is called.
//
// A file that cannot be read as a zone stays what it was: half-written files come and go
// while people edit. A directory that cannot be listed leaves the set unknown. Times are
// looked at several times a second, the directory's always and the files' at leisure:
// that works on every file system, those of other hosts too.
package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// times that the source works by.
type times struct {
	poll time.Duration // the files' times are looked at so often
	full time.Duration // the whole set is told so often
	rest time.Duration // a file that vanished is gone when it did not come back for so long
	note time.Duration // a file that cannot be read for so long is told of
}

// An editor that saves renames the old file away and the new one in: a zone is not gone
// in between.
func usual() times {
	return times{poll: 300 * time.Millisecond, full: time.Minute, rest: 600 * time.Millisecond, note: again}
}

// Source is the source.
type Source struct {
	o     source.Options
	times times
	log   *slog.Logger
	deep  bool // subdirectories are groups
	wake  chan struct{}
}

// New returns a source of the files of Options.Config, a directory. When its path ends
// in "/*" the files are those of its subdirectories, whose names are the zones' groups.
func New(o source.Options) (source.Source, error) {
	s, err := open(o, usual())
	if err != nil {
		return nil, err
	}
	return s, nil
}

func open(o source.Options, t times) (*Source, error) {
	dir, deep := strings.CutSuffix(o.Config, "/*")
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("source of kind directory: %q is not an absolute path of a directory; set config", o.Config)
	}
	o.Config = filepath.Clean(dir)
	s := &Source{o: o, times: t, deep: deep, log: o.Log, wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Hear takes a NOTIFY as a hint to look at the directory now.
func (s *Source) Hear(source.Notify) {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run is source.Source's.
func (s *Source) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	r := run{Source: s, tell: tell, files: map[string]*file{}, zones: map[name.Name]source.Member{}}
	tick := time.NewTicker(s.times.poll)
	defer tick.Stop()
	for {
		r.round(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// run is one run of the source.
type run struct {
	*Source
	tell     func(context.Context, source.Report) error
	files    map[string]*file
	dirs     map[string]time.Time        // times of directories at the last pass
	thorough time.Time                   // of the next thorough pass
	zones    map[name.Name]source.Member // as told, or to be told
	told     time.Time                   // when the whole set, or trouble, was told; zero: it is to be told now
	trouble  string
	fresh    bool     // the notes changed
	clashes  []string // what is wrong with files that can be read
}

// round looks at the directory once, and tells what is new.
func (r *run) round(ctx context.Context, now time.Time) {
	changed, err := r.scan(ctx, now)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.fail(ctx, now, err)
		return
	}
	if r.trouble != "" {
		r.trouble, r.told = "", time.Time{}
	}
	due := now.Sub(r.told) >= r.times.full
	if !changed && !due && !r.fresh {
		return
	}
	next := r.members()
	due, r.fresh = due || r.fresh, false
	delta := r.difference(next)
	r.zones = next
	switch {
	case due:
		r.told = now
		err = r.tell(ctx, source.Report{Full: &source.List{Members: sorted(next)}, Notes: r.notes()})
	case len(delta.Add)+len(delta.Remove) > 0:
		err = r.tell(ctx, source.Report{Delta: &delta})
	}
	if err != nil {
		r.told = now.Add(time.Second - r.times.full) // in full, in a second
	}
}

// fail tells that the set is unknown, at once and each minute.
func (r *run) fail(ctx context.Context, now time.Time, err error) {
	why := err.Error()
	if why == r.trouble && now.Sub(r.told) < r.times.full {
		return
	}
	r.trouble, r.told = why, now
	_ = r.tell(ctx, source.Report{Trouble: why}) // it is told again
}

// members returns the zones of the files as they are known now. Of two files with the
// same zone the first in order counts.
func (r *run) members() map[name.Name]source.Member {
	next := make(map[name.Name]source.Member, len(r.files))
	first := make(map[name.Name]*file, len(r.files))
	before := r.clashes
	r.clashes = nil
	defer func() {
		slices.Sort(r.clashes)
		r.fresh = r.fresh || !slices.Equal(before, r.clashes)
	}()
	for _, f := range r.files {
		if f.zone == "" {
			continue
		}
		if !r.may(f.zone) {
			r.clash(f, fmt.Errorf("its zone %s is not among those that the source may have; see allow", f.zone.Bare()))
			continue
		}
		loser := first[f.zone]
		if loser == nil || f.path < loser.path {
			first[f.zone] = f
			next[f.zone] = source.Member{Name: f.zone, Group: f.group}
		} else {
			loser = f
		}
		if loser != nil {
			r.clash(loser, fmt.Errorf("it has the zone %s, as %s has, which counts; remove one of them", f.zone.Bare(), first[f.zone].path))
		}
	}
	return next
}

// may reports whether a zone of this name may be.
func (s *Source) may(n name.Name) bool {
	if len(s.o.Allow) == 0 {
		return n != name.Root
	}
	return slices.ContainsFunc(s.o.Allow, n.Under)
}

// complain logs what is wrong with a file, once.
func (r *run) complain(f *file, err error) {
	if f.wrong != err.Error() {
		f.wrong = err.Error()
		r.log.Warn("zone file is not taken as it is", "source", r.o.Name, "file", f.path, "why", err)
	}
}

// clash is complain for a file that can be read.
func (r *run) clash(f *file, err error) {
	r.complain(f, err)
	r.clashes = append(r.clashes, f.path+": "+err.Error())
}

// maxNotes is how many files are told of.
const maxNotes = 10

// notes are what somebody should look at.
func (r *run) notes() []string {
	all := slices.Clone(r.clashes)
	for _, f := range r.files {
		if f.noted {
			all = append(all, f.path+": "+f.wrong)
		}
	}
	slices.Sort(all)
	if n := len(all) - maxNotes; n > 0 {
		all = append(all[:maxNotes], fmt.Sprintf("and %d more files", n))
	}
	return all
}

// difference returns what is new in next.
func (r *run) difference(next map[name.Name]source.Member) source.Delta {
	var d source.Delta
	for n, m := range next {
		if was, ok := r.zones[n]; !ok || was.Group != m.Group {
			d.Add = append(d.Add, m)
		}
	}
	for n := range r.zones {
		if _, ok := next[n]; !ok {
			d.Remove = append(d.Remove, n)
		}
	}
	slices.SortFunc(d.Add, byName)
	slices.Sort(d.Remove)
	return d
}

func sorted(zones map[name.Name]source.Member) []source.Member {
	all := make([]source.Member, 0, len(zones))
	for _, m := range zones {
		all = append(all, m)
	}
	slices.SortFunc(all, byName)
	return all
}

func byName(a, b source.Member) int { return strings.Compare(string(a.Name), string(b.Name)) }

var errNoZone = errors.New("it has no SOA record yet")
