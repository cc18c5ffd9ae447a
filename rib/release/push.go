package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/origin"
	"kaname.dev/kaname/rib/release/store"
)

// pushIn is an archive to keep as a release.
type pushIn struct {
	Archive action.File `name:"archive" arg:"" required:"" help:"tarball, plain or compressed: a file, or an s3:// or https:// address" ja:"アーカイブ（ファイルまたは URL）" complete:"files"`
	naming
}

// naming says what a release is called and how its archive is read.
type naming struct {
	App        string        `name:"app" help:"app that it is a release of; by default from the file's name" ja:"アプリ名" complete:"apps"`
	Version    string        `name:"version" help:"its version; by default from the file's name, else the time" ja:"バージョン"`
	Strip      int           `name:"strip" help:"leading directories to leave out, as tar --strip-components" ja:"取り除く先頭ディレクトリ数"`
	Meta       []string      `name:"meta" help:"notes kept with the release: commit=1a2b3c" ja:"付随情報"`
	Sign       action.File   `name:"sign" help:"minisign secret key to sign with; it is used on the core and not kept" ja:"署名に使う minisign 秘密鍵" complete:"files"`
	MaxSize    action.Bytes  `name:"max-size" help:"most bytes that the archive may unpack to; 32GiB unless given" ja:"展開後の最大サイズ"`
	MaxEntries int           `name:"max-entries" help:"most entries that it may have; 500000 unless given" ja:"最大エントリ数"`
	MaxRatio   int           `name:"max-ratio" help:"most that it may grow by when decompressed; 250 times unless given" ja:"最大展開比"`
	Password   action.Secret `name:"sign-password" help:"password of that key" ja:"鍵のパスワード"`
}

// importIn is an address to read an archive from.
type importIn struct {
	URL string `name:"url" arg:"" required:"" help:"s3://bucket/key, http:// or https:// address of a tarball" ja:"アーカイブの URL"`
	naming
}

// releaseOut is a release as people see it.
type releaseOut struct {
	App      string       `json:"app"`
	Version  string       `json:"version"`
	Wanted   bool         `json:"wanted"` // to be live
	Files    int          `json:"files"`
	Size     action.Bytes `json:"size"` // bytes unpacked
	Wire     action.Bytes `json:"wire"` // bytes of the full pack
	Created  time.Time    `json:"created"`
	By       string       `json:"by"`
	Signed   bool         `json:"signed"`
	Manifest string       `json:"manifest"`
	Source   string       `json:"source,omitempty"`
	Holders  []string     `json:"holders,omitempty"`
}

func (d *releaseDoc) out(a *appDoc) releaseOut {
	return releaseOut{
		App: d.App, Version: d.Version, Wanted: a.Wanted != nil && a.Wanted.Version == d.Version, Files: d.Files, Size: action.Bytes(d.Size), Wire: action.Bytes(d.Wire),
		Created: d.Created, By: d.By, Signed: len(d.Signature) > 0, Manifest: d.Manifest.String(), Source: d.Source, Holders: d.Holders,
	}
}

// archiveExt are the endings of archive names; versionPart splits app and version.
var (
	archiveExt  = regexp.MustCompile(`(?i)\.(tar|tgz|tbz2?|txz|tzst|tar\.(gz|zst|zstd|bz2|xz))$`)
	versionPart = regexp.MustCompile(`^(.+?)[-_]v?(\d.*)$`)
)

// name fills in app and version from a file's name, and the time where that has none.
func (n *naming) name(file string, now time.Time) error {
	file, _, _ = strings.Cut(file, "?") // of an address
	base := archiveExt.ReplaceAllString(path.Base(strings.ReplaceAll(file, `\`, "/")), "")
	app, version := base, ""
	if m := versionPart.FindStringSubmatch(base); m != nil {
		app, version = m[1], m[2]
	}
	if n.App == "" {
		n.App = strings.ToLower(app)
	}
	if n.Version == "" {
		n.Version = version
	}
	if n.Version == "" {
		n.Version = now.UTC().Format("20060102T150405Z")
	}
	if err := manifest.CheckApp(n.App); err != nil {
		return fault.Invalid("app").Because(err).Try("name it: --app NAME")
	}
	return manifest.CheckVersion(n.Version)
}

// push is the action.
func (r *service) push(ctx context.Context, run *action.Run, in pushIn) (releaseOut, error) {
	if in.Archive.URL != "" {
		return r.load(ctx, run, importIn{URL: in.Archive.URL, naming: in.naming})
	}
	if err := in.name(in.Archive.Name, time.Now()); err != nil {
		return releaseOut{}, err
	}
	return r.ingest(ctx, run, &in.naming, in.Archive.Reader, in.Archive.Name, in.Archive.Size)
}

// load is the action import.
func (r *service) load(ctx context.Context, run *action.Run, in importIn) (releaseOut, error) {
	if err := in.name(in.URL, time.Now()); err != nil {
		return releaseOut{}, err
	}
	if scheme, _, _ := strings.Cut(in.URL, "://"); scheme != "s3" && scheme != "http" && scheme != "https" {
		return releaseOut{}, fault.Invalid("archive address " + in.URL + " is not s3://, http:// or https://").Try("give a file itself: kaname release push FILE")
	}
	src, err := origin.Open(ctx, in.URL, origin.Options{Getenv: os.Getenv}) //nolint:forbidigo // the usual credential chain of S3 clients begins there
	if err != nil {
		return releaseOut{}, err
	}
	defer src.Close() //nolint:errcheck // only read
	return r.ingest(ctx, run, &in.naming, src, src.Name, src.Size)
}

// planPush says what a push would do.
func (r *service) planPush(ctx context.Context, in pushIn) (action.Plan, error) {
	name := in.Archive.Name
	if in.Archive.URL != "" {
		name = in.Archive.URL
	}
	return r.planNaming(ctx, &in.naming, name, in.Archive.Size)
}

func (r *service) planImport(ctx context.Context, in importIn) (action.Plan, error) {
	return r.planNaming(ctx, &in.naming, in.URL, -1)
}

func (r *service) planNaming(ctx context.Context, n *naming, file string, size int64) (action.Plan, error) {
	if err := n.name(file, time.Now()); err != nil {
		return action.Plan{}, err
	}
	_, err := r.releases().Get(ctx, releaseKey(n.App, n.Version))
	if err == nil {
		return action.Plan{}, takenFault(n.App, n.Version)
	}
	if !fault.Is(err, fault.KindNotFound) {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: "store " + file + " as release " + n.App + " " + n.Version, Ground: "absent"}
	text := "read the archive, compress it and keep it on core " + r.node.Host
	if size > 0 {
		text += " (" + bytesText(size) + ")"
	}
	p.Steps = []action.Step{{Host: r.node.Host, What: text}}
	if !n.Sign.Given() && r.settings().RequireSignature {
		p.Warnings = append(p.Warnings, "it is not signed, and this host takes signed releases only; see --sign")
	}
	return p, nil
}

func takenFault(app, version string) error {
	return fault.Exists("release " + app + " " + version + " exists already, and a version never changes its contents").
		Try("choose another version, or delete that one first: kaname release delete " + app + " " + version)
}

// ingest reads an archive into the store and puts the release on record.
func (r *service) ingest(ctx context.Context, run *action.Run, n *naming, from io.Reader, name string, size int64) (out releaseOut, err error) {
	if err := r.ready(ctx); err != nil {
		return out, err
	}
	if _, err := r.releases().Get(ctx, releaseKey(n.App, n.Version)); err == nil {
		return out, takenFault(n.App, n.Version)
	} else if !fault.Is(err, fault.KindNotFound) {
		return out, err
	}
	key, err := n.key()
	if err != nil {
		return out, err
	}
	meta, err := n.meta()
	if err != nil {
		return out, err
	}
	rd := &tellingReader{r: from, run: run, size: size}
	a, err := archive.Open(rd, path.Base(name), archive.Options{Strip: n.Strip, MaxSize: int64(n.MaxSize), MaxEntries: n.MaxEntries, MaxRatio: int64(n.MaxRatio)})
	if err != nil {
		return out, err
	}
	defer a.Close()
	h := manifest.Header{App: n.App, Version: n.Version, Created: time.Now().UTC().Truncate(time.Millisecond), Source: path.Base(name), Meta: meta}
	rel, err := r.store.Ingest(ctx, a, h)
	if fault.Is(err, fault.KindExists) {
		err = r.orphan(ctx, n, err)
	}
	if err != nil {
		return out, err
	}
	run.Say(action.Event{Step: "read", State: action.StateDone, Done: rd.done, Total: rd.done, Unit: "bytes"})
	doc, err := r.describeRelease(rel, run)
	if err == nil && key != nil {
		err = r.sign(&doc, *key)
	}
	if err == nil {
		_, err = r.releases().Create(ctx, releaseKey(n.App, n.Version), doc)
	}
	if err != nil {
		return out, errors.Join(err, r.store.Remove(rel.ID)) //nolint:contextcheck // it takes none
	}
	r.say("release.push", doc.out(&appDoc{}))
	return doc.out(&appDoc{}), nil
}

// orphan explains a release that is in the store and not on record: a push that was cut
// off between the two, or a deletion. It is removed, so that the next push succeeds.
func (r *service) orphan(ctx context.Context, n *naming, was error) error {
	old, err := r.store.Find(n.App, n.Version)
	if err != nil || old.Path != "" {
		return was
	}
	if _, err := r.releases().Get(ctx, releaseKey(n.App, n.Version)); !fault.Is(err, fault.KindNotFound) {
		return was
	}
	if err := r.store.Remove(old.ID); err != nil {
		return err
	}
	return fault.Conflict("release " + old.String() + " was left by a push that was cut off; it is removed now").Try("push it again")
}

// describeRelease makes the document of a release that is in the store.
func (r *service) describeRelease(rel store.Release, run *action.Run) (releaseDoc, error) {
	full, err := r.store.Full(rel.ID)
	if err != nil {
		return releaseDoc{}, err
	}
	m, err := r.store.Manifest(rel.ID)
	if err != nil {
		return releaseDoc{}, err
	}
	return releaseDoc{
		App: rel.App, Version: rel.Version, Manifest: rel.ID, Pack: full.Digest(), Files: rel.Files, Size: rel.Size, Wire: full.Describe().Wire(),
		Created: rel.Created, By: actorName(run), Source: m.Source, Holders: []string{r.node.Host}, Meta: m.Meta,
	}, nil
}

// meta reads the notes.
func (n *naming) meta() (map[string]string, error) {
	if len(n.Meta) == 0 {
		return nil, nil //nolint:nilnil // no notes
	}
	out := map[string]string{}
	for _, s := range n.Meta {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fault.Invalid(fmt.Sprintf("note %q is not key=value", s))
		}
		out[k] = v
	}
	return out, nil
}

// tellingReader tells how far an archive is read.
type tellingReader struct {
	r    io.Reader
	run  *action.Run
	size int64
	done int64
	told time.Time
}

func (t *tellingReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.done += int64(n)
	if time.Since(t.told) > 300*time.Millisecond {
		t.told = time.Now()
		t.run.Say(action.Event{Step: "read", State: action.StateRunning, Done: t.done, Total: max(t.size, 0), Unit: "bytes"})
	}
	return n, err
}
