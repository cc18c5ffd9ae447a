package fault

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
)

// Exit codes of the command line, as printed in its manual pages.
const (
	ExitOK          = 0   // done, or nothing to do
	ExitFailed      = 1   // failed
	ExitUsage       = 2   // wrong usage or configuration
	ExitPartial     = 3   // done on some hosts, failed on others
	ExitUnreachable = 4   // a needed part does not answer
	ExitDenied      = 5   // denied, or waiting for approval
	ExitConflict    = 6   // the ground moved since the plan
	ExitNotFound    = 7   // the named thing does not exist
	ExitTimeout     = 124 // the time given ran out
	ExitInterrupted = 130 // interrupted
)

// faces is the one table from kind to what the doors show.
var faces = map[Kind]struct{ exit, status int }{
	KindInvalid:       {ExitUsage, http.StatusBadRequest},
	KindNotFound:      {ExitNotFound, http.StatusNotFound},
	KindExists:        {ExitConflict, http.StatusConflict},
	KindDenied:        {ExitDenied, http.StatusForbidden},
	KindNeedsApproval: {ExitDenied, http.StatusForbidden},
	KindConflict:      {ExitConflict, http.StatusConflict},
	KindUnavailable:   {ExitUnreachable, http.StatusServiceUnavailable},
	KindTimeout:       {ExitTimeout, http.StatusGatewayTimeout},
	KindPartial:       {ExitPartial, http.StatusMultiStatus},
	KindUnsupported:   {ExitFailed, http.StatusNotImplemented},
	KindCorrupt:       {ExitFailed, http.StatusUnprocessableEntity},
	KindFull:          {ExitFailed, http.StatusInsufficientStorage},
	KindCanceled:      {ExitInterrupted, 499}, // nginx's "client closed request"; no standard status exists
	KindInternal:      {ExitFailed, http.StatusInternalServerError},
}

// Of returns err as a Fault: itself if it holds one, otherwise one whose kind is
// derived from well-known errors (context, os). Of(nil) is nil.
func Of(err error) *Fault {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Fault](err); ok {
		if err == error(f) { //nolint:errorlint // the very same, not one that wraps it
			return f
		}
		// Wrapped on the way up: keep the whole text, the inner kind and the remedy in
		// its own place.
		if what, ok := strings.CutSuffix(err.Error(), "; "+f.Remedy); ok {
			return &Fault{Kind: f.Kind, What: what, Remedy: f.Remedy}
		}
		return &Fault{Kind: f.Kind, What: err.Error()}
	}
	kind := KindInternal
	switch {
	case errors.Is(err, context.Canceled):
		kind = KindCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		kind = KindTimeout
	case errors.Is(err, os.ErrNotExist):
		kind = KindNotFound
	case errors.Is(err, os.ErrPermission):
		kind = KindDenied
	}
	return &Fault{Kind: kind, What: err.Error()}
}

// Is reports whether err is, or wraps, a fault of the kind. A nil error is of none.
func Is(err error, kind Kind) bool {
	f := Of(err)
	return f != nil && f.Kind == kind
}

// ExitCode returns the exit code of the command line for err; 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if c, ok := faces[Of(err).Kind]; ok {
		return c.exit
	}
	return ExitFailed
}

// HTTPStatus returns the HTTP status for err; 200 for nil.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if c, ok := faces[Of(err).Kind]; ok {
		return c.status
	}
	return http.StatusInternalServerError
}
