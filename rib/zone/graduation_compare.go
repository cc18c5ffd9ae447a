package zone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/graduate/compare"
	"kaname.dev/kaname/rib/zone/graduate/flow"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

const compareLong = `The core asks both servers. Where both allow it the zones are transferred and compared whole, and a sample of questions is asked; otherwise questions are asked for all names that one transfer, or a file in --files, shows: by UDP and TCP, with and without DNSSEC, for what is there and for what is not. A zone that differs is compared again twice, for it may just be changing.

Without zones, those of the graduation are compared, and the outcome is counted there. A comparison of single zones is counted only when it finds a difference.

The order of records, the case of names, additional records and compression are no differences. --ignore-dnssec is for a new server that signs by itself, --serial ahead goes with it. Differences are told as they are found; the last of a graduation are kept: kaname zone graduation NAME.`

// compareIn says what is compared.
type compareIn struct {
	Old   string   `name:"old" arg:"" help:"address and port of the old server; by default that of the graduation" ja:"移行元サーバーのアドレスとポート"`
	New   string   `name:"new" arg:"" help:"address and port of the new server" ja:"移行先サーバーのアドレスとポート"`
	Zones []string `name:"zones" arg:"" help:"zones; by default those of the graduation" ja:"ゾーン名"`
	Name  string   `name:"name" help:"graduation that the comparison belongs to; by default the one between these servers" ja:"移行の名前"`

	Key       string        `name:"key" help:"TSIG key for transfers: the name of one in zone.keys" ja:"転送に使う TSIG 鍵の名前（zone.keys）"`
	TSIG      action.Secret `name:"tsig" help:"TSIG key for transfers as dig -y takes it, algorithm:name:secret" ja:"転送に使う TSIG 鍵（dig -y の形式）"`
	Sign      bool          `name:"sign" help:"the key signs questions too, for views that are chosen by key" ja:"質問にも署名する"`
	Questions bool          `name:"questions-only" help:"no transfers, only questions" ja:"転送せず質問だけで比較する"`
	Files     string        `name:"files" help:"folder on the core with zone files, ZONE.zone: names for zones that may not be transferred" ja:"ゾーンファイルのあるコア上のフォルダ"`

	Serial       string `name:"serial" default:"equal" enum:"equal,ahead,any" help:"how the new server's serial may differ" ja:"シリアルの許容差"`
	IgnoreDNSSEC bool   `name:"ignore-dnssec" help:"the new server signs by itself: signatures, keys and proofs may differ" ja:"DNSSEC レコードの違いを無視する"`
	IgnoreTTL    bool   `name:"ignore-ttl" help:"TTLs may differ" ja:"TTL の違いを無視する"`
	Workers      int    `name:"workers" default:"8" help:"zones at a time, 1 to 64" ja:"同時に比較するゾーン数"`
}

// compareOut is what a comparison without a difference comes to.
type compareOut struct {
	compare.Summary

	Left []string `json:"left_out,omitempty"` // what was not compared, by the operator's choice
	Name string   `json:"graduation,omitempty"`
	Row  string   `json:"state,omitempty"` // of the graduation
	Next []string `json:"next,omitempty"`
}

// maxTold is how many differences are told; all are counted.
const maxTold = 200

func (r *service) compare(ctx context.Context, run *action.Run, in compareIn) (compareOut, error) {
	g, ok, names, err := r.compared(ctx, &in)
	if err != nil {
		return compareOut{}, err
	}
	o, err := r.compareOptions(&in)
	if err != nil {
		return compareOut{}, err
	}
	began := time.Now().UTC()
	t := teller{run: run, total: len(names), missing: map[name.Name]bool{}}
	sum, err := compare.Run(ctx, zonesOf(names, in.Files), o, compare.Sink{Difference: t.difference, Result: t.result})
	if err != nil {
		return compareOut{}, err
	}
	if more := sum.Differences - t.told; more > 0 {
		run.Note(fmt.Sprintf("and %d more differences", more))
	}
	out := compareOut{Summary: sum, Left: in.left()}
	if ok {
		whole := len(in.Zones) == 0
		step := flow.Run{
			At: time.Now().UTC(), Began: began, Zones: sum.Zones, Differing: sum.Differing, Differences: sum.Differences,
			Weak: sum.Weak, Complete: whole, Without: out.Left,
		}
		if g, err = r.count(ctx, run, g.ID, step, &t); err != nil {
			return compareOut{}, err
		}
		out.Name, out.Row, out.Next = g.ID, string(g.State), g.Plan()
	}
	return out, verdict(&sum, g.ID)
}

// verdict is the error of servers that differ.
func verdict(sum *compare.Summary, graduation string) error {
	remedy := "mend what differs and compare again"
	if graduation != "" {
		remedy += "; see both answers: kaname zone graduation " + graduation
	}
	switch {
	case sum.Differences > 0:
		return fault.Conflict(fmt.Sprintf("the servers differ: %d differences in %d of %d zones", sum.Differences, sum.Differing, sum.Zones)).Try(remedy)
	case sum.Weak > 0:
		return fault.Partial(fmt.Sprintf("no difference was seen, but the names of %d of %d zones could only be guessed", sum.Weak, sum.Zones)).
			Try("allow this core to transfer them (--key NAME, --tsig), or give their zone files: --files FOLDER")
	}
	return nil
}

// compared finds the graduation, if there is one, and the zones.
func (r *service) compared(ctx context.Context, in *compareIn) (g graduation, ok bool, names []name.Name, err error) {
	for _, a := range []*string{&in.Old, &in.New} {
		if *a == "" {
			continue
		}
		p, err := serverAddress(*a)
		if err != nil {
			return g, false, nil, err
		}
		*a = p.String()
	}
	if (in.Old == "" || in.New == "") && in.Name == "" {
		return g, false, nil, fault.Invalid("two servers are compared").Try("kaname zone compare OLD NEW, or --name with a graduation")
	}
	if g, ok, err = r.graduationOf(ctx, in.Name, in.Old, in.New); err != nil {
		return g, false, nil, err
	}
	if ok {
		in.Old, in.New = g.Old, g.New
	}
	if in.Old == in.New {
		return g, false, nil, fault.Invalid("old and new server are the same, " + in.Old)
	}
	for _, z := range in.Zones {
		n, err := keeper.ParseZone(z)
		if err != nil {
			return g, false, nil, err
		}
		names = append(names, n)
	}
	switch {
	case len(names) > 0:
		return g, ok, names, nil
	case !ok:
		return g, false, nil, fault.Invalid("no zones are named, and no graduation goes from " + in.Old + " to " + in.New).Try("name zones, or begin a graduation: kaname zone graduate FILE --for KIND --old ADDR --new ADDR")
	case g.State == flow.Released || g.State == flow.Abandoned:
		return g, false, nil, fault.Conflict("graduation " + g.ID + " has ended as " + string(g.State)).Try("begin a new one, or name zones and no graduation")
	}
	names, err = unpackNames(g.Names)
	return g, ok, names, err
}

func (r *service) compareOptions(in *compareIn) (compare.Options, error) {
	key, err := r.compareKey(in)
	if err != nil {
		return compare.Options{}, err
	}
	switch {
	case in.Workers < 1 || in.Workers > 64:
		return compare.Options{}, fault.Invalid(fmt.Sprintf("%d workers", in.Workers)).Try("use 1 to 64")
	case in.Sign && key == nil:
		return compare.Options{}, fault.Invalid("questions are to be signed, and there is no key").Try("give --key or --tsig")
	case in.Files != "" && !filepath.IsAbs(in.Files):
		return compare.Options{}, fault.Invalid(fmt.Sprintf("folder %q is not absolute", in.Files)).Try("name a folder on the core: --files /var/lib/nsd")
	}
	return compare.Options{
		Old: wire.Peer{Address: addr(in.Old), Key: key}, New: wire.Peer{Address: addr(in.New), Key: key},
		Sign: in.Sign, Serial: compare.SerialPolicy(in.Serial), IgnoreDNSSEC: in.IgnoreDNSSEC, IgnoreTTL: in.IgnoreTTL,
		NoTransfer: in.Questions, Workers: in.Workers,
	}, nil
}

// compareKey returns the key that is meant, nil for none.
func (r *service) compareKey(in *compareIn) (*wire.Key, error) {
	var key wire.Key
	switch {
	case in.Key != "" && in.TSIG != "":
		return nil, fault.Invalid("both --key and --tsig are given").Try("give one of them")
	case in.Key != "":
		i := slices.IndexFunc(r.keys, func(k wire.Key) bool {
			return strings.EqualFold(strings.TrimSuffix(k.Name, "."), strings.TrimSuffix(in.Key, "."))
		})
		if i < 0 {
			return nil, fault.NotFound("key " + in.Key + " is not among zone.keys of this core").At(r.node.Host).Try("add its file there, or give the key: --tsig algorithm:name:secret")
		}
		key = r.keys[i]
	case in.TSIG != "":
		parts := strings.SplitN(in.TSIG.Reveal(), ":", 3)
		if len(parts) != 3 {
			return nil, fault.Invalid("the TSIG key is not of the form algorithm:name:secret").Try("write it as for dig -y: hmac-sha256:xfr:c2VjcmV0…")
		}
		key = wire.Key{Name: parts[1], Algorithm: parts[0], Secret: strings.TrimSpace(parts[2])}
	default:
		return nil, nil
	}
	key, err := key.Canonical()
	if err != nil {
		return nil, fault.Invalid("TSIG key").Because(err)
	}
	return &key, nil
}

// left says what is not compared, by choice.
func (in *compareIn) left() []string {
	var list []string
	if in.IgnoreDNSSEC {
		list = append(list, "DNSSEC records")
	}
	if in.IgnoreTTL {
		list = append(list, "TTLs")
	}
	if in.Serial != string(compare.SerialEqual) {
		list = append(list, "serials ("+in.Serial+")")
	}
	if in.Questions {
		list = append(list, "transfers")
	}
	return list
}

// zonesOf yields the zones, with their files as far as there are any.
func zonesOf(names []name.Name, folder string) iter.Seq[compare.Zone] {
	return func(yield func(compare.Zone) bool) {
		for _, n := range names {
			z := compare.Zone{Name: n}
			if folder != "" {
				file := filepath.Join(folder, n.File()+".zone")
				if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
					z.Files = []string{file}
				}
			}
			if !yield(z) {
				return
			}
		}
	}
}

// teller tells of a comparison as it goes. Its methods are called one at a time.
type teller struct {
	run         *action.Run
	total, done int
	told        int
	last        []compare.Difference
	missing     map[name.Name]bool // zones that the new server does not serve
}

// maxAnswer is how much of an answer is kept and told, in octets.
const maxAnswer = 4000

func (t *teller) difference(d compare.Difference) {
	apex := d.Question == d.Zone.String()+" SOA"
	if apex && (d.Kind == compare.KindRcode || d.Kind == compare.KindSilent || d.Kind == compare.KindFlags) {
		t.missing[d.Zone] = true
	}
	d.Old, d.New = d.Old[:min(len(d.Old), maxAnswer)], d.New[:min(len(d.New), maxAnswer)]
	if d.Kind == compare.KindRecord {
		d.What += ": " + strings.Join(strings.Fields(d.Old+d.New), " ") // one of them is empty
	}
	if len(t.last) < maxLast {
		t.last = append(t.last, d)
	}
	if t.told == maxTold {
		return
	}
	t.told++
	data, err := json.Marshal(d)
	if err != nil {
		data = nil // cannot be: texts
	}
	t.run.Say(action.Event{Step: d.Zone.Unicode(), State: action.StateFailed, Text: d.Kind + ": " + d.Question + ": " + d.What, Data: data})
}

func (t *teller) result(z compare.Result) {
	t.done++
	if t.done%max(1, t.total/20) == 0 || t.done == t.total {
		t.run.Say(action.Event{Step: "compare", State: action.StateRunning, Done: int64(t.done), Total: int64(t.total), Unit: "zones"})
	}
	if z.Method == compare.MethodGuess {
		t.run.Say(action.Event{Step: z.Zone.Unicode(), State: action.StateSkipped, Text: "its names could only be guessed: " + strings.Join(z.Notes, "; ")})
	}
}

// count counts the comparison in its graduation. The first that finds all zones at the
// new server is also what says that it has them.
func (r *service) count(ctx context.Context, run *action.Run, id string, step flow.Run, t *teller) (graduation, error) {
	var note string
	doc, err := r.graduations().Update(ctx, id, func(g *graduation) error {
		note = ""
		switch {
		case !step.Complete && step.Differences == 0:
			note = "not counted in graduation " + id + ": single zones without a difference"
			return nil
		case g.State == flow.Imported && len(t.missing) > 0:
			g.Last = t.last
			note = fmt.Sprintf("not counted in graduation %s: the new server does not serve %d of %d zones yet", id, len(t.missing), g.Zones)
			return nil
		case g.State == flow.Imported && step.Complete:
			shadow, err := g.Provisioned(step.At, run.Actor.Name)
			if err != nil {
				return err
			}
			g.Graduation = shadow
		}
		next, err := g.Compared(step)
		if err != nil {
			return turn(id, err)
		}
		g.Graduation, g.Last = next, t.last
		return nil
	})
	if err == nil && note != "" {
		run.Note(note)
	}
	return doc.Value, err
}

// turn makes a fault of what the flow refuses.
func turn(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flow.ErrOrder), errors.Is(err, flow.ErrGate):
		return fault.Conflict("the move is not that far").Because(err).Try("see what is next: kaname zone graduation " + id)
	}
	return err
}
