// Package browser gives tests a real Chromium without a window.
package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long one step may take; the machines that run tests are slow.
const patience = 30 * time.Second

// Page is one tab. A step that cannot be done ends the test with a picture of what
// the page looked like.
type Page struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // chromedp's handle on the tab is a context
}

// Open starts Debian's chromium with an empty profile. It takes certificates of any
// CA, for tests make their own, and prefers the language ("en", "ja"). Without a
// chromium the test is skipped on a developer's machine and fails in CI.
func Open(t testing.TB, lang string) *Page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is not installed; scripts/deps.sh installs it")
		}
		t.Skip("chromium is not installed; scripts/deps.sh installs it")
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU,
		chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("accept-lang", lang), chromedp.Flag("lang", lang),
		// A closed network: nothing may call home.
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	}
	alloc, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return &Page{t, ctx}
}

// do runs steps within the time given to one.
func (p *Page) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.Shot("broken")
		p.t.Fatalf("%s: %v", what, err)
	}
}

// Go opens an address.
func (p *Page) Go(url string) { p.t.Helper(); p.do("go to "+url, chromedp.Navigate(url)) }

// See waits until the element is visible.
func (p *Page) See(css string) {
	p.t.Helper()
	p.do("see "+css, chromedp.WaitVisible(chromedp.CSS(css)))
}

// Click clicks the element.
func (p *Page) Click(css string) { p.t.Helper(); p.do("click "+css, chromedp.Click(chromedp.CSS(css))) }

// Type types into the element; "\n" is the Enter key.
func (p *Page) Type(css, text string) {
	p.t.Helper()
	p.do("type into "+css, chromedp.SendKeys(chromedp.CSS(css), text))
}

// Choose sets the value of a select element.
func (p *Page) Choose(css, value string) {
	p.t.Helper()
	p.do("choose in "+css, chromedp.SetValue(chromedp.CSS(css), value))
}

// Attach gives a file to a file input.
func (p *Page) Attach(css, file string) {
	p.t.Helper()
	p.do("attach to "+css, chromedp.SetUploadFiles(chromedp.CSS(css), []string{file}))
}

// Text returns the visible text of the element.
func (p *Page) Text(css string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(css)))
	if err != nil {
		p.Shot("broken")
		p.t.Fatalf("text of %s: %v", css, err)
	}
	return text
}

// Has fails the test for each text that the element does not show.
func (p *Page) Has(css string, texts ...string) {
	p.t.Helper()
	got := p.Text(css)
	for _, want := range texts {
		if !strings.Contains(got, want) {
			p.t.Errorf("%s lacks %q:\n%s", css, want, got)
		}
	}
}

// Shot writes a picture of the page into the test's artifacts, kept with go test
// -artifacts.
func (p *Page) Shot(name string) {
	p.t.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Errorf("picture of %s: %v", name, err)
		return
	}
	dir := p.t.TempDir()
	if a, ok := p.t.(interface{ ArtifactDir() string }); ok {
		dir = a.ArtifactDir()
	}
	file := filepath.Join(dir, name+".png")
	if err := os.WriteFile(file, png, 0o600); err != nil {
		p.t.Error(err)
	}
	p.t.Log("picture:", file)
}
