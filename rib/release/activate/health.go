package activate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// Health is how a host is asked whether the live release is well: a URL fetched on
// the host itself, or a command. One good answer is enough, Within is how long it may
// take until then.
type Health struct {
	URL     string        `json:"url,omitempty"`     // GET must answer 200 to 299; redirects are not followed
	Command string        `json:"command,omitempty"` // for /bin/sh -c; must exit with 0
	Timeout time.Duration `json:"timeout,omitempty"` // of one try; 5 s when 0
	Every   time.Duration `json:"every,omitempty"`   // between tries; 1 s when 0
	Within  time.Duration `json:"within,omitempty"`  // of all tries together; 30 s when 0
}

// Given reports whether there is anything to ask.
func (h *Health) Given() bool { return h.URL != "" || h.Command != "" }

// Check refuses what cannot be asked.
func (h *Health) Check() error {
	if h.URL != "" && h.Command != "" {
		return fault.Invalid("health is asked by URL or by command, not both")
	}
	if h.URL == "" {
		return nil
	}
	if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fault.Invalid(fmt.Sprintf("health URL %q is not http://… or https://…", h.URL)).Try("name it as each host reaches itself: http://127.0.0.1:8080/healthz")
	}
	return nil
}

// Healthy asks until the answer is good or Within has passed, and returns how many
// tries it took. The error tells the last bad answer.
func Healthy(ctx context.Context, v View, h Health, x Activation) (tries int, err error) {
	h.Timeout, h.Every, h.Within = orElse(h.Timeout, 5*time.Second), orElse(h.Every, time.Second), orElse(h.Within, 30*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, h.Within, errWithin)
	defer cancel()
	for tries = 1; ; tries++ {
		one, stop := context.WithTimeout(ctx, h.Timeout)
		answer := ask(one, v, h, &x)
		stop()
		if answer == nil {
			return tries, nil
		}
		if ctx.Err() == nil || err == nil {
			err = answer // not the one that only says that the time is over
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.Every):
			continue
		}
		if !errors.Is(context.Cause(ctx), errWithin) {
			return tries, context.Cause(ctx)
		}
		f := &fault.Fault{Kind: fault.KindUnavailable, What: fmt.Sprintf("app %s %s is not healthy after %d tries in %s", v.App, x.Version, tries, h.Within), Err: err}
		return tries, f
	}
}

var errWithin = errors.New("the time for health ran out")

func orElse(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

func ask(ctx context.Context, v View, h Health, x *Activation) error {
	if h.URL != "" {
		return get(ctx, h.URL)
	}
	user, err := account(x.Hooks.User)
	if err != nil {
		return err
	}
	_, err = host.Run(ctx, host.Command{
		Shell: h.Command, Dir: pathOrNone(v.Dir, x.Version), Env: environment(v.App, v.Dir, x, "health", x.Version, v.Previous),
		User: user, Keep: keepOutput, Grace: time.Second,
	})
	return err
}

// get asks once. No proxy, no kept connection, no redirect: the answer is that of
// this host now.
func get(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kaname-health/1")
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to the extent that is wanted
	head, _ := io.ReadAll(io.LimitReader(res.Body, 200))
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return nil
	}
	text := "GET " + address + " answered " + res.Status
	if to := res.Header.Get("Location"); to != "" {
		return errors.New(text + " to " + to)
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(string(head)), "\n"); line != "" {
		return fmt.Errorf("%s: %.120s", text, line)
	}
	return errors.New(text)
}
