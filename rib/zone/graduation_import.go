package zone

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/flow"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/graduate/target"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// maxConf is the most of a named.conf that is taken from a client: some 400,000 zones.
const maxConf = 64 << 20

// confIn says where a named.conf is.
type confIn struct {
	File action.File `name:"file" arg:"" help:"what named-checkconf -p prints: named.conf without includes" ja:"named-checkconf -p の出力" complete:"files"`
	Path string      `name:"path" help:"instead: path of a named.conf on the core, read with what it includes" ja:"コア上の named.conf のパス（include も読む）"`
	For  string      `name:"for" required:"" enum:"nsd,knot,pdns,bind" help:"kind of the new server" ja:"新しいサーバーの種類"`
	View string      `name:"view" help:"view whose zones are meant, where there are several" ja:"対象のビュー"`
}

// read reads the configuration.
func (in confIn) read(ctx context.Context) (*namedconf.Config, error) {
	switch {
	case in.File.Given() && in.Path != "":
		return nil, fault.Invalid("both FILE and --path are given").Try("give one of them")
	case in.Path != "" && !filepath.IsAbs(in.Path):
		return nil, fault.Invalid(fmt.Sprintf("path %q is not absolute", in.Path)).Try("write it as on the core: --path /etc/bind/named.conf")
	case in.Path != "":
		c, err := namedconf.Read(ctx, in.Path, namedconf.Options{})
		return c, in.wrong(in.Path, err)
	case !in.File.Given():
		return nil, fault.Invalid("no configuration is given").Try("run named-checkconf -p > all.conf where named runs, and give all.conf; or name a file on the core: --path /etc/bind/named.conf")
	case in.File.URL != "":
		return nil, fault.Unsupported("a configuration is not fetched from an address").Try("give a file")
	}
	text, err := io.ReadAll(io.LimitReader(in.File.Reader, maxConf+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConf {
		return nil, fault.Full(fmt.Sprintf("the configuration has more than %d MiB", maxConf>>20)).Try("copy it to the core, and name it there: --path")
	}
	c, err := namedconf.ParseConfig(filepath.Base(in.File.Name), string(bytes.ToValidUTF8(text, []byte("?"))))
	return c, in.wrong(in.File.Name, err)
}

func (in confIn) wrong(file string, err error) error {
	if err == nil {
		return nil
	}
	return fault.Invalid("configuration " + file + " cannot be read").Because(err).Try("see whether named takes it: named-checkconf -p")
}

// view returns the view that is meant: the only one, or the one that is named.
func (in confIn) view(c *namedconf.Config) (string, error) {
	var views []string
	for i := range c.Views {
		if slices.ContainsFunc(c.Views[i].Zones, moves) {
			views = append(views, c.Views[i].Name)
		}
	}
	switch {
	case len(views) == 0:
		return "", fault.Invalid("the configuration has no primary or secondary zones").Try("there is nothing to move")
	case in.View != "" && !slices.Contains(views, in.View):
		return "", fault.NotFound(fmt.Sprintf("view %q with primary or secondary zones", in.View)).Try("name one of: " + strings.Join(views, ", "))
	case in.View == "" && len(views) > 1:
		return "", fault.Invalid("the configuration has several views: " + strings.Join(views, ", ")).Try("each needs a server of its own: name one with --view")
	case in.View == "":
		return views[0], nil
	}
	return in.View, nil
}

func moves(z namedconf.Zone) bool {
	return z.Class == "" && (z.Type == "primary" || z.Type == "secondary")
}

// places are the usual folders of the new server: of its zone files, and of the
// configuration that is written for it.
var places = map[string][2]string{
	"nsd":  {"/var/lib/nsd", "/etc/nsd/imported"},
	"knot": {"/var/lib/knot", "/etc/knot/imported"},
	"pdns": {"/var/lib/powerdns", "/etc/powerdns/imported"},
	"bind": {"/var/cache/bind", "/etc/bind/imported"},
}

// graduateIn says what is moved to where.
type graduateIn struct {
	confIn

	Old   string        `name:"old" help:"address and port of the server that is left" ja:"移行元サーバーのアドレスとポート"`
	New   string        `name:"new" help:"address and port of the new server, which no client asks yet" ja:"移行先サーバーのアドレスとポート"`
	Name  string        `name:"name" help:"name of the graduation; by default bind-to-KIND" ja:"移行の名前"`
	Green time.Duration `name:"green" default:"24h" help:"how long all comparisons must have been without a difference before the cutover" ja:"切替前に差分なしが続くべき時間"`
	Runs  int           `name:"runs" default:"3" help:"how many comparisons in a row must have been without a difference" ja:"差分なしが続くべき比較の回数"`
	Fresh time.Duration `name:"fresh" default:"1h" help:"how old the last comparison may be at the cutover" ja:"切替時に許される最後の比較の古さ"`
}

// importOut is what a configuration comes to.
type importOut struct {
	For   string `json:"for"`
	View  string `json:"view,omitempty"`
	Count int    `json:"count"` // of the zones
	graduate.Import
	Move *graduationRow `json:"move,omitempty"` // nil when nothing was begun
	Next []string       `json:"next,omitempty"`
}

// maxListed is how many zones a result lists.
const maxListed = 1000

func (r *service) graduate(ctx context.Context, run *action.Run, in graduateIn) (importOut, error) {
	if err := in.check(); err != nil {
		return importOut{}, err
	}
	c, err := in.read(ctx)
	if err != nil {
		return importOut{}, err
	}
	out := importOut{For: in.For, Import: graduate.New(c)}
	if out.View, err = in.view(c); err != nil {
		return importOut{}, err
	}
	_, more, err := recipe(c, in.For, out.View, "", "")
	if err != nil {
		return importOut{}, err
	}
	out.Unmapped = merge(out.Unmapped, more)
	out.Zones = slices.DeleteFunc(out.Zones, func(z graduate.Zone) bool { return z.View != out.View })
	out.Templates = slices.DeleteFunc(out.Templates, func(t server.Template) bool {
		return !slices.ContainsFunc(out.Zones, func(z graduate.Zone) bool { return z.Template == t.Name })
	})
	out.Count = len(out.Zones)
	if in.Old != "" {
		g, err := r.begin(ctx, run, &in, &out)
		if err != nil {
			return importOut{}, err
		}
		row := rowOf(&g)
		out.Move, out.Next = &row, g.Plan()
	} else {
		run.Note("only looked: with --old ADDR and --new ADDR a graduation begins")
	}
	out.Zones = out.Zones[:min(len(out.Zones), maxListed)]
	return out, nil
}

func (in *graduateIn) check() error {
	if in.Name == "" {
		in.Name = "bind-to-" + in.For
	}
	switch {
	case (in.Old == "") != (in.New == ""):
		return fault.Invalid("only one of --old and --new is given").Try("give both, to begin a graduation, or none, to look only")
	case !wellNamed.MatchString(in.Name):
		return fault.Invalid(fmt.Sprintf("name %q of a graduation", in.Name)).Try("use letters, digits and '-', at most 40")
	case in.Runs < 1 || in.Green < 0 || in.Fresh < 0:
		return fault.Invalid("comparisons that could not be counted: --runs is 1 or more, --green and --fresh are not negative")
	}
	if in.Old == "" {
		return nil
	}
	for _, a := range []*string{&in.Old, &in.New} {
		p, err := serverAddress(*a)
		if err != nil {
			return err
		}
		*a = p.String()
	}
	return nil
}

// serverAddress reads an address, with port 53 when it has none.
func serverAddress(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return a, fault.Invalid(fmt.Sprintf("server %q is not an IP address and port", text)).Try("write it as 192.0.2.1:53 or [2001:db8::1]:53")
	}
	return a, nil
}

// recipe writes the new server's configuration; empty folders are the usual ones.
func recipe(c *namedconf.Config, kind, view, folder, config string) (server.Recipe, []graduate.Finding, error) {
	if folder == "" {
		folder = places[kind][0]
	}
	if config == "" {
		config = places[kind][1]
	}
	out, found, err := target.Recipe(c, target.Options{Kind: kind, View: view, Folder: folder, Config: config})
	if err != nil {
		err = fault.Invalid("configuration of the new server cannot be written").Because(err)
	}
	return out, found, err
}

// merge adds findings that are not there yet, the gravest first.
func merge(list, more []graduate.Finding) []graduate.Finding {
	rank := map[graduate.Severity]int{graduate.Blocker: 0, graduate.Warning: 1, graduate.Info: 2}
	at := map[string]int{}
	for i := range list {
		at[list[i].What+"\x00"+list[i].Remedy] = i
	}
	known := len(list)
	for _, f := range more {
		key := f.What + "\x00" + f.Remedy
		i, ok := at[key]
		switch {
		case !ok:
			at[key] = len(list)
			list = append(list, f)
		case i >= known: // those of the import have been counted already
			list[i].Times += f.Times
		}
	}
	slices.SortStableFunc(list, func(a, b graduate.Finding) int { return rank[a.Severity] - rank[b.Severity] })
	return list
}

// begin begins a graduation, or brings it up to date.
func (r *service) begin(ctx context.Context, run *action.Run, in *graduateIn, imp *importOut) (graduation, error) {
	names := make([]name.Name, 0, len(imp.Zones))
	for i := range imp.Zones {
		names = append(names, imp.Zones[i].Name)
	}
	slices.Sort(names)
	packed, err := packNames(names)
	if err != nil {
		return graduation{}, err
	}
	var open []graduate.Finding
	for _, f := range imp.Unmapped {
		if f.Severity == graduate.Blocker {
			open = append(open, f)
		}
	}
	policy := flow.Policy{Hours: in.Green.Hours(), Runs: in.Runs, Fresh: in.Fresh.Hours()}
	fresh, err := flow.Start(in.Name, in.Old, in.New, len(names), len(open), policy, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return graduation{}, fault.Invalid("graduation cannot begin").Because(err)
	}
	next := graduation{Graduation: fresh, Kind: in.For, View: imp.View, Names: packed, Open: open}
	doc, err := r.graduations().Update(ctx, in.Name, func(g *graduation) error {
		switch {
		case g.ID == "" || g.State == flow.Released || g.State == flow.Abandoned:
		case g.State == flow.CutOver:
			return fault.Conflict("graduation " + g.ID + " is cut over").Try("release it or roll it back first: kaname zone cutover " + g.ID + " --release")
		case g.Old == next.Old && g.New == next.New && g.Kind == next.Kind && g.View == next.View && bytes.Equal(g.Names, next.Names) && sameFindings(g, open):
			g.Policy = policy // what was compared and accepted still counts
			return nil
		default:
			run.Note("graduation " + g.ID + " begins anew: its servers, zones or blockers have changed")
			next.Steps = g.Steps
		}
		*g = next
		return nil
	})
	return doc.Value, err
}

// sameFindings reports whether the blockers are those that g has, or that were accepted.
func sameFindings(g *graduation, open []graduate.Finding) bool {
	return slices.EqualFunc(g.Open, open, func(a, b graduate.Finding) bool { return a.What == b.What && a.Times == b.Times && a.Where == b.Where })
}
