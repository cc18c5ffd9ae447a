package release

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/origin"
	"kaname.dev/kaname/rib/release/site"
	"kaname.dev/kaname/rib/release/stretcher"
)

// maxStretcher is how many bytes a stretcher manifest may have.
const maxStretcher = 1 << 20

// stretch turns a stretcher manifest into a deploy: the archive becomes a release, if
// it is none yet, and the manifest's commands and its synchronisation become hooks. A
// manifest without an archive runs its commands on the hosts at once; then the result
// is returned.
func (r *service) stretch(ctx context.Context, run *action.Run, in *deployIn) (*deployOut, error) {
	if in.Archive.Given() || in.Pre != "" || in.Post != "" || in.Success != "" || in.Failure != "" {
		return nil, fault.Invalid("a stretcher manifest has its own archive and commands").Try("leave --archive, --pre, --post, --success and --failure out")
	}
	m, err := readStretcher(ctx, in.Manifest)
	if err != nil {
		return nil, err
	}
	for _, w := range m.Warnings {
		run.Note(w)
	}
	if m.Src == "" {
		return r.stretchLines(ctx, run, in, m)
	}
	if in.App == "" {
		in.App = appOf(m.Dest)
	}
	doc, err := r.stretched(ctx, run, in, m)
	if err != nil {
		return nil, err
	}
	kept, err := r.store.Manifest(doc.Manifest)
	if err != nil {
		return nil, err
	}
	h := m.Hooks(kept.Root)
	in.Fresh = true
	in.Pre, in.Post, in.Success, in.Failure = script(h.Pre), script(h.Post), script(h.Success), script(h.Failure)
	return nil, nil //nolint:nilnil // the deploy itself follows
}

func deref(out *deployOut) deployOut {
	if out == nil {
		return deployOut{}
	}
	return *out
}

func readStretcher(ctx context.Context, f action.File) (*stretcher.Manifest, error) {
	name, from := f.Name, f.Reader
	if f.URL != "" {
		src, err := origin.Open(ctx, f.URL, origin.Options{Getenv: os.Getenv}) //nolint:forbidigo // the usual credential chain of S3 clients begins there
		if err != nil {
			return nil, err
		}
		defer src.Close() //nolint:errcheck // only read
		name, from = f.URL, src
	}
	text, err := io.ReadAll(io.LimitReader(from, maxStretcher+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxStretcher {
		return nil, fault.Invalid(name + " is larger than 1 MiB, and so no stretcher manifest").Try("give an archive with --archive")
	}
	return stretcher.Parse(name, text, os.LookupEnv)
}

// stretched returns the release of the manifest's archive. Its version is the
// checksum's beginning: the same archive is read once.
func (r *service) stretched(ctx context.Context, run *action.Run, in *deployIn, m *stretcher.Manifest) (releaseDoc, error) {
	if in.Version == "" {
		in.Version = strings.ToLower(m.Checksum[:min(12, len(m.Checksum))])
	}
	if in.Version == "" {
		in.Version = time.Now().UTC().Format("20060102T150405Z")
	}
	old, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	if err == nil {
		return old.Value, nil
	}
	if !fault.Is(err, fault.KindNotFound) {
		return releaseDoc{}, err
	}
	src, err := origin.Open(ctx, m.Src, origin.Options{Getenv: os.Getenv}) //nolint:forbidigo // see readStretcher
	if err != nil {
		return releaseDoc{}, err
	}
	defer src.Close() //nolint:errcheck // only read
	n := naming{App: in.App, Version: in.Version}
	if _, err := r.ingest(ctx, run, &n, m.Verify(src), src.Name, src.Size); err != nil {
		return releaseDoc{}, err
	}
	doc, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	return doc.Value, err
}

var notApp = regexp.MustCompile(`[^a-z0-9._-]+`)

// appOf names an app after the directory that it is deployed to.
func appOf(dest string) string {
	name := strings.Trim(notApp.ReplaceAllString(strings.ToLower(path.Base(dest)), "-"), "-._")
	if manifest.CheckApp(name) != nil {
		return "app"
	}
	return name
}

// script makes one shell line that runs each of the lines in a shell of its own until
// one fails.
func script(lines []string) string {
	var parts []string
	for _, l := range lines {
		parts = append(parts, "(\n"+l+"\n)")
	}
	return strings.Join(parts, " &&\n")
}

// stretchLines runs the commands of a manifest without an archive on all hosts.
func (r *service) stretchLines(ctx context.Context, run *action.Run, in *deployIn, m *stretcher.Manifest) (*deployOut, error) {
	f, err := r.fleetOf(ctx, in.To)
	if err != nil {
		return nil, err
	}
	out := &deployOut{App: in.App, State: deployDone, Hosts: len(f.There), Absent: len(f.Off), By: actorName(run), Began: time.Now().UTC()}
	if out.Hosts == 0 {
		return nil, fault.NotFound("no host matches " + strings.Join(in.To, ",")).Try("see the hosts and their labels: kaname host list")
	}
	spec := plane.CallSpec{
		Command: site.CommandLines, Hosts: fleet.Names(f.There), Actor: actorOf(run), Timeout: silence,
		In: site.LinesIn{Hooks: activate.Hooks{Pre: m.Commands.Pre, Post: m.Commands.Post, Success: m.Commands.Success, Failure: m.Commands.Failure, Timeout: in.HookTimeout}},
	}
	var failed []string
	for frame := range r.node.Plane.Call(ctx, spec) {
		switch {
		case !frame.Last():
			p := site.Decode(frame.Progress)
			run.Say(action.Event{Host: frame.Host, Step: p.Step, State: action.StateRunning, Text: p.Text})
		case frame.Fault != nil:
			failed = append(failed, frame.Host)
			run.Say(action.Event{Host: frame.Host, Step: "commands", State: action.StateFailed, Text: frame.Fault.Error()})
		default:
			out.Live++
			run.Say(action.Event{Host: frame.Host, Step: "commands", State: action.StateDone})
		}
	}
	out.Took, out.Failed = time.Since(out.Began), len(failed)
	if len(failed) > 0 {
		slices.Sort(failed)
		return out, fault.Partial(fmt.Sprintf("commands failed on %d of %s: %s", len(failed), count(out.Hosts, "host"), someOf(failed, 8)))
	}
	return out, nil
}

// planStretch says what a deploy by a manifest would do: its contents are not sent
// along with the question.
func planStretch(in deployIn) action.Plan {
	name := in.Manifest.Name
	if in.Manifest.URL != "" {
		name = in.Manifest.URL
	}
	return action.Plan{Summary: "deploy as the stretcher manifest " + name + " says, to " + strings.Join(in.To, ","), Steps: []action.Step{
		{What: "read its src once, check the checksum, keep it as a release"},
		{What: "stage it on the hosts, from host to host"},
		{What: "in waves: pre, switch, make dest equal, post, success or failure"},
	}}
}
