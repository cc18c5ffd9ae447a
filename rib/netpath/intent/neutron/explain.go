package neutron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"kaname.dev/kaname/fault"
)

// explain makes a fault of what went wrong: what was tried, where, what was answered.
// Nothing of a request is in it, for requests carry tokens and passwords.
func explain(ctx context.Context, err error, what, where string) error {
	if cause := context.Cause(ctx); cause != nil {
		if f := fault.Of(cause); f.Where == "" && f.Kind == fault.KindTimeout {
			return (&fault.Fault{Kind: f.Kind, What: f.What, Remedy: f.Remedy}).At(where)
		}
		return cause
	}
	if code, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok {
		return answered(code, what, where)
	}
	if code, ok := errors.AsType[*gophercloud.ErrUnableToReauthenticate](err); ok {
		return fault.Denied("the token has run out and a new one was refused").At(where).Because(code.ErrReauth)
	}
	timed, ok := errors.AsType[net.Error](err)
	if errors.Is(err, os.ErrDeadlineExceeded) || ok && timed.Timeout() {
		return fault.Timeout(what + ": no answer").At(where).Try("look whether it is overloaded; ask again later")
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return fault.Unavailable(what + ": it cannot be reached").At(where).Because(err).Try("check the address, and that the server runs")
	}
	return fault.Unavailable(what).At(where).Because(err)
}

// answered makes a fault of an HTTP status, in the server's own words.
func answered(e gophercloud.ErrUnexpectedResponseCode, what, where string) error {
	said := fmt.Sprintf("%s: it answers %d %s", what, e.Actual, http.StatusText(e.Actual))
	if words := message(e.Body); words != "" {
		said += ": " + words
	}
	switch {
	case e.Actual == http.StatusUnauthorized:
		return fault.Denied(said).At(where).Try("check the user, the password, the project and their domains (OS_USERNAME, OS_PASSWORD, ...)")
	case e.Actual == http.StatusForbidden:
		return fault.Denied(said).At(where).Try("use the credentials of an administrator, or of a reader of the whole cloud")
	case e.Actual == http.StatusNotFound:
		return fault.NotFound(said).At(where).Try("check that the endpoint is Neutron's")
	case e.Actual == http.StatusTooManyRequests || e.Actual >= 500:
		return fault.Unavailable(said).At(where).Try("look at the server's log; ask again later")
	}
	return fault.Invalid(said).At(where)
}

// message finds what an OpenStack service says in an error: {"NeutronError": {"message": ...}},
// {"error": {"message": ...}}; of anything else the beginning, on one line.
func message(body []byte) string {
	var any map[string]json.RawMessage
	if json.Unmarshal(body, &any) == nil {
		for _, raw := range any {
			var inner struct{ Message string }
			var text string
			if json.Unmarshal(raw, &inner) == nil && inner.Message != "" {
				return clip(inner.Message)
			}
			if json.Unmarshal(raw, &text) == nil && text != "" {
				return clip(text)
			}
		}
	}
	if strings.HasPrefix(strings.TrimSpace(string(body)), "<") {
		return "a page in HTML"
	}
	return clip(string(body))
}

// clip makes a text fit into a line, without what a terminal would obey.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}
