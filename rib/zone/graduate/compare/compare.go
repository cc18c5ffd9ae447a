// Package compare asks an old and a new server the same, zone by zone, and reports
// every difference: whole transfers where both allow them, otherwise all names that
// are known, and always a sample of what clients ask. It decides nothing: zero
// differences are for others to wait for.
package compare

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// SerialPolicy says how the serials of two servers may differ.
type SerialPolicy string

// Policies of serials.
const (
	SerialEqual SerialPolicy = "equal" // the default: the new server is a secondary, or has the same files
	SerialAhead SerialPolicy = "ahead" // the new one is equal or newer (RFC 1982): it signs, or is updated
	SerialAny   SerialPolicy = "any"
)

// Options say what is compared and how.
type Options struct {
	Old, New wire.Peer // keys sign the transfers
	Sign     bool      // the keys sign questions too: views that are chosen by key

	Serial       SerialPolicy
	IgnoreDNSSEC bool // the new server signs by itself: RRSIG, NSEC, NSEC3, DNSKEY and the like may differ
	IgnoreTTL    bool
	StrictTXT    bool // "a" "b" is not "ab" in TXT records
	NoTransfer   bool // ask questions only

	Sample  int           // names of a zone whose questions are replayed; 6 when zero, none when negative
	Workers int           // zones at a time; 8 when zero
	Again   int           // times that a zone which differs is compared again, for it may just be changing; 2 when zero, none when negative
	Pause   time.Duration // before that; 1 s when zero
	Timeout time.Duration // for one answer; 2 s when zero
}

// Zone is one zone to compare.
type Zone struct {
	Name  name.Name
	Files []string // zone files in text form, of both servers if they can be had: names for when a transfer is refused
}

// Kinds of differences.
const (
	KindRecord   = "record"   // a record that only one transfer has
	KindSOA      = "soa"      // the SOA record but for its serial
	KindSerial   = "serial"   // against the policy
	KindRcode    = "rcode"    // NXDOMAIN here, NOERROR there
	KindFlags    = "aa"       // authoritative here only
	KindAnswer   = "answer"   // the answer section
	KindNegative = "negative" // SOA, or proofs, of a negative answer
	KindReferral = "referral" // NS, DS or glue of a delegation
	KindSilent   = "silent"   // one does not answer
	KindTransfer = "transfer" // a transfer broke off
)

// Difference is something that the servers answer differently.
type Difference struct {
	Zone     name.Name `json:"zone"`
	Kind     string    `json:"kind"`
	Question string    `json:"question"` // in the words of dig: "www.example.com. A +dnssec +tcp"
	What     string    `json:"what"`
	Old      string    `json:"old"` // the answer in dig's form, or the record; empty for none
	New      string    `json:"new"`
}

// Methods of comparing a zone.
const (
	MethodTransfer = "transfer"  // both transfers, and a sample of questions
	MethodNames    = "names"     // questions for all names of one transfer or of the file
	MethodGuess    = "questions" // only questions whose names are guessed: no names are known
)

// Result is what became of one zone.
type Result struct {
	Zone        name.Name `json:"zone"`
	Method      string    `json:"method"`
	Records     int       `json:"records"` // in the old server's transfer
	Questions   int       `json:"questions"`
	Differences int       `json:"differences"`
	OldSerial   uint32    `json:"old_serial"`
	NewSerial   uint32    `json:"new_serial"`
	Notes       []string  `json:"notes,omitempty"` // why not more could be compared
}

// Summary is what became of all.
type Summary struct {
	Zones       int           `json:"zones"`
	Differing   int           `json:"differing"` // zones
	Differences int           `json:"differences"`
	Records     int           `json:"records"`
	Questions   int           `json:"questions"`
	Weak        int           `json:"weak"` // zones of MethodGuess: equal as far as it can be seen
	Took        time.Duration `json:"took"`
}

// Green reports whether the servers answered the same, at least one zone was compared
// and no zone's names were merely guessed.
func (s Summary) Green() bool { return s.Zones > 0 && s.Differences == 0 && s.Weak == 0 }

// Sink takes what is found, as it is found. Its functions are called one at a time;
// either may be nil. A zone's differences come before its result.
type Sink struct {
	Difference func(Difference)
	Result     func(Result)
}

// Run compares the zones. The error is that of the context: what servers do wrong are
// differences. Memory is bounded by the workers, not by the zones, and not by the
// records unless a zone differs or allows only one transfer.
func Run(ctx context.Context, zones iter.Seq[Zone], o Options, sink Sink) (Summary, error) {
	o = o.withDefaults()
	begin := time.Now()
	var (
		sum  Summary
		mu   sync.Mutex
		wg   sync.WaitGroup
		feed = make(chan Zone)
	)
	for range o.Workers {
		wg.Go(func() {
			for z := range feed {
				r := compareZone(ctx, z, o, func(d Difference) {
					mu.Lock()
					defer mu.Unlock()
					if sink.Difference != nil {
						sink.Difference(d)
					}
				})
				mu.Lock()
				if ctx.Err() == nil {
					sum.add(r)
					if sink.Result != nil {
						sink.Result(r)
					}
				}
				mu.Unlock()
			}
		})
	}
	for z := range zones {
		select {
		case feed <- z:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(feed)
	wg.Wait()
	sum.Took = time.Since(begin)
	return sum, context.Cause(ctx)
}

func (s *Summary) add(r Result) {
	s.Zones++
	s.Records += r.Records
	s.Questions += r.Questions
	s.Differences += r.Differences
	if r.Differences > 0 {
		s.Differing++
	}
	if r.Method == MethodGuess {
		s.Weak++
	}
}

func (o Options) withDefaults() Options {
	if o.Serial == "" {
		o.Serial = SerialEqual
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Sample, 6}, {&o.Workers, 8}, {&o.Again, 2}} {
		if *d.field == 0 {
			*d.field = d.value
		}
		*d.field = max(*d.field, 0)
	}
	o.Workers = max(o.Workers, 1)
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	return o
}

// errDiffers ends a comparison that will be repeated anyway.
var errDiffers = errors.New("differs")

// compareZone compares one zone, again while it differs: it may be changing, and what
// remains is reported.
func compareZone(ctx context.Context, z Zone, o Options, emit func(Difference)) Result {
	for try := 0; ; try++ {
		w := work{zone: z, o: o, client: &wire.Client{Timeout: o.Timeout}}
		w.result = Result{Zone: z.Name}
		last := try >= o.Again
		if last {
			w.emit = emit
		}
		err := w.run(ctx)
		if !errors.Is(err, errDiffers) || last || ctx.Err() != nil {
			return w.result
		}
		select {
		case <-time.After(o.Pause):
		case <-ctx.Done():
			return w.result
		}
	}
}

// work is one comparison of one zone.
type work struct {
	zone   Zone
	o      Options
	client *wire.Client
	emit   func(Difference) // nil: the first difference ends the work
	result Result
	silent int // questions in a row that a server did not answer
}

// differ reports a difference.
func (w *work) differ(d Difference) error {
	d.Zone = w.zone.Name
	w.result.Differences++
	if w.emit == nil {
		return errDiffers
	}
	w.emit(d)
	return nil
}

// run compares transfers as far as there are any, then questions.
func (w *work) run(ctx context.Context) error {
	known, err := w.transfers(ctx)
	if err != nil {
		return err
	}
	for q := range questions(w.zone.Name, known, w.o) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.question(ctx, q); err != nil {
			return err
		}
		if w.silent == maxSilent {
			w.result.Notes = append(w.result.Notes, "no further questions: a server does not answer")
			return nil
		}
	}
	return nil
}

// maxSilent is how many questions in a row without an answer end a zone's comparison:
// a server that is down would hold up each by its timeout.
const maxSilent = 3

// both runs two functions side by side and waits for them.
func both(one, two func()) {
	var wg sync.WaitGroup
	wg.Go(one)
	two()
	wg.Wait()
}

// question asks both servers and compares what they say.
func (w *work) question(ctx context.Context, q question) error {
	w.result.Questions++
	var old, other *dns.Msg
	var oldErr, newErr error
	both(
		func() { old, oldErr = w.ask(ctx, w.o.Old, q) },
		func() { other, newErr = w.ask(ctx, w.o.New, q) },
	)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if old == nil || other == nil {
		w.silent++
		return w.differ(Difference{
			Kind: KindSilent, Question: q.String(), What: silence(old, oldErr, newErr),
			Old: digOf(old, oldErr), New: digOf(other, newErr),
		})
	}
	w.silent = 0
	found := answers(w.zone.Name, q, old, other, w.o)
	if len(found) == 0 && q == (question{name: text(w.zone.Name), kind: dns.TypeSOA}) && len(old.Answer) == 0 {
		found = []finding{{KindSilent, "neither server serves the zone"}}
	}
	for _, f := range found {
		d := Difference{Kind: f.kind, Question: q.String(), What: f.what, Old: digOf(old, nil), New: digOf(other, nil)}
		if err := w.differ(d); err != nil {
			return err
		}
	}
	return nil
}

func silence(old *dns.Msg, oldErr, newErr error) string {
	switch {
	case old != nil:
		return "the new server does not answer: " + newErr.Error()
	case newErr == nil:
		return "the old server does not answer: " + oldErr.Error()
	default:
		return "neither server answers: " + oldErr.Error()
	}
}

func digOf(m *dns.Msg, err error) string {
	switch {
	case m != nil:
		return m.String()
	case err != nil:
		return ";; " + err.Error()
	}
	return ""
}
