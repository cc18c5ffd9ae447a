package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

const contents = "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 604800 60\n@ NS ns1\n"

// soon is after how long a file is gone in most tests.
const soon = 60 * time.Millisecond

// keeper is who is told.
type keeper struct {
	mu      sync.Mutex
	zones   map[name.Name]string // groups
	trouble string
	notes   []string
	reports int
	fulls   int
	fails   bool
}

func (k *keeper) tell(_ context.Context, r source.Report) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reports++
	if k.fails {
		return errors.New("not taken")
	}
	k.trouble = r.Trouble
	if r.Full != nil {
		k.fulls++
		k.notes = r.Notes
		k.zones = map[name.Name]string{}
		for _, m := range r.Full.Members {
			k.zones[m.Name] = m.Group
		}
	}
	if r.Delta != nil {
		for _, m := range r.Delta.Add {
			k.zones[m.Name] = m.Group
		}
		for _, n := range r.Delta.Remove {
			delete(k.zones, n)
		}
	}
	return nil
}

func (k *keeper) names() []name.Name {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []name.Name
	for n := range k.zones {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

func (k *keeper) is(want ...name.Name) func() bool {
	return func() bool { return slices.Equal(k.names(), want) }
}

func (k *keeper) get(f func(k *keeper) bool) func() bool {
	return func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return f(k)
	}
}

func start(t *testing.T, config string, rest time.Duration) *keeper {
	t.Helper()
	s, err := open(source.Options{Name: "files", Kind: "directory", Config: config}, times{poll: 20 * time.Millisecond, full: 10 * time.Second, rest: rest})
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{zones: map[name.Name]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, k.tell) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesOfZones(t *testing.T) {
	dir := t.TempDir()
	for file, want := range map[string]name.Name{
		"example.jp.zone": "example.jp.", "example.jp.db": "example.jp.", "example.jp": "example.jp.", "db.example.jp": "example.jp.",
		"日本語.jp.zone": "xn--wgv71a119e.jp.", `a\046b.test.zone`: `a\046b.test.`,
	} {
		path := filepath.Join(dir, file)
		write(t, path, contents)
		if got, err := readZone(path); got != want || err != nil {
			t.Errorf("%s has %q, %v; want %q", file, got, err, want)
		}
	}
	for text, want := range map[string]name.Name{
		"$ORIGIN Other.test.\n" + contents: "other.test.", "Third.test. 300 IN SOA a. b. 1 2 3 4 5\n": "third.test.",
		"; half": "", "": "", "@ SOA ns1 hostm": "", "@ 300 NS ns1\n": "", "\x00\x01\x02": "",
		"$INCLUDE /etc/passwd\n" + contents: "",
	} {
		path := filepath.Join(dir, "x.test.zone")
		write(t, path, text)
		if got, err := readZone(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestFilesComeAndGo(t *testing.T) {
	dir := t.TempDir()
	at := func(file string) string { return filepath.Join(dir, file) }
	write(t, at("a.test.zone"), contents)
	write(t, at("b.test.zone"), contents)
	write(t, at("c.test.zone~"), contents)
	write(t, at("README"), "not a zone\n")
	write(t, at("sub/d.test.zone"), contents)
	k := start(t, dir, soon)
	lab.Eventually(t, "both zones are told", k.is("a.test.", "b.test."))

	write(t, at("e.test.zone"), "$TTL 300\n") // half
	write(t, at("a.test.zone"), "$TTL 300\n@ SO")
	write(t, at("f.test.zone"), contents)
	lab.Eventually(t, "a new one is told, half ones are not, and what is being edited stays", k.is("a.test.", "b.test.", "f.test."))
	write(t, at("e.test.zone"), contents)
	lab.Eventually(t, "the half one is whole", k.is("a.test.", "b.test.", "e.test.", "f.test."))

	must(t, os.Remove(at("b.test.zone")))
	lab.Eventually(t, "the removed one goes", k.is("a.test.", "e.test.", "f.test."))
	must(t, os.Rename(at("f.test.zone"), at("g.test.zone")))
	lab.Eventually(t, "the renamed one is another", k.is("a.test.", "e.test.", "g.test."))

	elsewhere := filepath.Join(t.TempDir(), "store")
	write(t, elsewhere, "$ORIGIN h.test.\n"+contents)
	must(t, os.Symlink(elsewhere, at("link.zone")))
	lab.Eventually(t, "links are followed", k.is("a.test.", "e.test.", "g.test.", "h.test."))
	write(t, at("another.zone"), "$ORIGIN h.test.\n"+contents) // twice
	must(t, os.Remove(at("g.test.zone")))
	lab.Eventually(t, "a zone in two files is one", k.is("a.test.", "e.test.", "h.test."))
}

func TestAnEditorsRenamesAreNoRemoval(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.test.zone")
	write(t, path, contents)
	write(t, filepath.Join(dir, "b.test.zone"), contents)
	k := start(t, dir, 5*time.Second)
	lab.Eventually(t, "it is told", k.is("a.test.", "b.test."))
	var before int
	k.get(func(k *keeper) bool { before = k.reports; return true })()
	for range 10 {
		must(t, os.Rename(path, path+"~"))
		<-time.After(25 * time.Millisecond)
		write(t, path, contents)
		<-time.After(25 * time.Millisecond)
	}
	if !k.get(func(k *keeper) bool { return k.reports == before })() {
		t.Error("an editor's saving was told as a change")
	}
}

func TestADirectoryThatVanishesIsTrouble(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "zones")
	write(t, filepath.Join(dir, "a.test.zone"), contents)
	write(t, filepath.Join(dir, "b.test.zone"), contents)
	k := start(t, dir, soon)
	lab.Eventually(t, "both are told", k.is("a.test.", "b.test."))
	troubled := func(k *keeper) bool { return k.trouble != "" }
	well := func(k *keeper) bool { return k.trouble == "" }

	must(t, os.Rename(dir, dir+".away"))
	lab.Eventually(t, "that is trouble", k.get(troubled))
	must(t, os.Mkdir(dir, 0o750)) // as an unmounted file system looks
	<-time.After(200 * time.Millisecond)
	if k.get(well)() || len(k.names()) != 2 {
		t.Errorf("an empty directory instead of a full one left %v", k.names())
	}
	must(t, os.Remove(dir))
	must(t, os.Rename(dir+".away", dir))
	lab.Eventually(t, "it is well again", k.get(well))
	if len(k.names()) != 2 {
		t.Errorf("after that there are %v", k.names())
	}
}

func TestWhatIsWrongIsTold(t *testing.T) {
	dir := t.TempDir()
	broken, twice := filepath.Join(dir, "a.test.zone"), filepath.Join(dir, "c.zone")
	write(t, broken, "@ SO")
	write(t, filepath.Join(dir, "b.test.zone"), contents)
	k := start(t, dir, soon)
	noted := func(files ...string) func() bool {
		return k.get(func(k *keeper) bool {
			return slices.EqualFunc(k.notes, files, strings.HasPrefix)
		})
	}
	lab.Eventually(t, "the broken file is told", noted(broken))
	write(t, twice, "$ORIGIN b.test.\n"+contents)
	lab.Eventually(t, "so is a zone that is there twice", noted(broken, twice))
	write(t, broken, contents)
	lab.Eventually(t, "the mended one is not told any more", noted(twice))
	must(t, os.Remove(twice))
	lab.Eventually(t, "nothing is wrong", noted())
	lab.Eventually(t, "both are there", k.is("a.test.", "b.test."))
}

func TestWhatIsNotTakenIsToldAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.test.zone"), contents)
	k := start(t, dir, soon)
	lab.Eventually(t, "it is told", k.is("a.test."))
	k.get(func(k *keeper) bool { k.fails = true; return true })()
	write(t, filepath.Join(dir, "b.test.zone"), contents)
	<-time.After(100 * time.Millisecond)
	k.get(func(k *keeper) bool { k.fails = false; return true })()
	lab.Eventually(t, "the lost change is told", k.is("a.test.", "b.test."))
	if !k.get(func(k *keeper) bool { return k.fulls == 2 })() {
		t.Error("not in full")
	}
}

func TestSubdirectoriesAreGroups(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "gold", "a.test.zone"), contents)
	write(t, filepath.Join(dir, "silver", "b.test.zone"), contents)
	write(t, filepath.Join(dir, "c.test.zone"), contents)
	k := start(t, dir+"/*", soon)
	lab.Eventually(t, "those below are told", k.is("a.test.", "b.test."))
	must(t, os.Rename(filepath.Join(dir, "gold", "a.test.zone"), filepath.Join(dir, "silver", "a.test.zone")))
	lab.Eventually(t, "the one that moved has another group", k.get(func(k *keeper) bool { return k.zones["a.test."] == "silver" }))
}

func TestManyFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 10_000 {
		write(t, filepath.Join(dir, fmt.Sprintf("zone-%05d.test.zone", i)), contents)
	}
	r := run{
		Source: &Source{o: source.Options{Config: dir}, times: usual(), wake: make(chan struct{})}, files: map[string]*file{},
	}
	began := time.Now()
	if changed, err := r.scan(t.Context(), began); !changed || err != nil || len(r.members()) != 10_000 {
		t.Fatalf("%v, %v, %d", changed, err, len(r.files))
	}
	first := time.Since(began)
	again := func(at time.Time) time.Duration {
		began := time.Now()
		if changed, err := r.scan(t.Context(), at); changed || err != nil {
			t.Fatalf("%v, %v", changed, err)
		}
		return time.Since(began)
	}
	t.Logf("10,000 files: %s at first, then %s when the directory changed, %s when not, %s thoroughly",
		first, again(began), again(began.Add(8*time.Second)), again(began.Add(time.Hour)))
}
