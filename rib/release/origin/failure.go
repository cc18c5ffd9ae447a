package origin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"kaname.dev/kaname/fault"
)

// errReplaced means that the object is no longer the one that was begun.
var errReplaced = errors.New("it was replaced while it was read")

// closeAfter closes c on the way out with err.
func closeAfter(c io.Closer, err error) error {
	if cerr := c.Close(); cerr != nil {
		return errors.Join(err, cerr)
	}
	return err
}

func fileFault(path string, err error) error {
	if _, ok := errors.AsType[*fault.Fault](err); ok {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fault.NotFound("archive " + path + " does not exist")
	}
	if errors.Is(err, fs.ErrPermission) {
		return fault.Denied("archive " + path + " may not be read").Because(err)
	}
	return fault.Unavailable("archive " + path).Because(err)
}

// permanent reports whether asking again cannot help.
func permanent(err error) bool {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errReplaced):
		return true
	}
	switch status(err) {
	case 0: // no answer: the network
		return noSuchHost(err)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

func noSuchHost(err error) bool {
	d, ok := errors.AsType[*net.DNSError](err)
	return ok && d.IsNotFound
}

// statusError is an answer of an HTTP server that is not what was asked for.
type statusError struct{ code int }

// Error names the status.
func (e *statusError) Error() string {
	return "it answers " + strconv.Itoa(e.code) + " " + http.StatusText(e.code)
}

// status returns the HTTP status that err stands for; 0 if there was no answer.
func status(err error) int {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.code
	}
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return r.StatusCode
	}
	return 0
}

// httpFault says what went wrong with an archive at a server.
func httpFault(name, where string, err error) error {
	if err == nil {
		return nil
	}
	if f := common(name, where, err); f != nil {
		return f
	}
	switch status(err) {
	case http.StatusNotFound, http.StatusGone:
		return fault.NotFound("archive " + name + " does not exist").At(where).Because(err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Denied("archive " + name + " may not be read").At(where).Because(err)
	}
	return fault.Unavailable("archive " + name).At(where).Because(err)
}

// common makes the faults that all servers share; nil if it is none of them.
func common(name, where string, err error) error {
	switch {
	case errors.Is(err, errReplaced), status(err) == http.StatusPreconditionFailed:
		return fault.Conflict("archive " + name + " was replaced while it was read").At(where).Try("give the new one a name of its own, or read again")
	case errors.Is(err, context.Canceled):
		return &fault.Fault{Kind: fault.KindCanceled, What: "archive " + name, Where: where, Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Timeout("archive " + name).At(where).Because(err)
	case noSuchHost(err):
		return fault.Unavailable("archive " + name + ": the server's name is not known to DNS").At(where).Because(err).
			Try("look for a typing error in the endpoint")
	}
	return nil
}

// s3Fault says what went wrong with an object of a store.
func s3Fault(name, where string, err error) error {
	if err == nil {
		return nil
	}
	if f := common(name, where, err); f != nil {
		return f
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(name, "s3://"), "/")
	r, _ := errors.AsType[minio.ErrorResponse](err)
	switch r.Code {
	case "NoSuchBucket":
		return fault.NotFound("bucket " + bucket + " does not exist").At(where).Try("look at the bucket's name and at AWS_ENDPOINT_URL")
	case "NoSuchKey", "NotFound":
		return fault.NotFound("archive " + name + " does not exist").At(where)
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the latter is what versitygw says
		return fault.Denied("archive " + name + ": the store does not know the access key").At(where).Because(err).Try("look at AWS_ACCESS_KEY_ID")
	case "SignatureDoesNotMatch":
		return fault.Denied("archive " + name + ": the secret key is wrong").At(where).Because(err).Try("look at AWS_SECRET_ACCESS_KEY")
	case "ExpiredToken", "InvalidToken":
		return fault.Denied("archive " + name + ": the credentials have expired").At(where).Because(err).Try("get new ones")
	case "RequestTimeTooSkewed":
		return fault.Denied("archive " + name + ": this host's clock differs too much from the store's").At(where).Because(err).
			Try("set the clock: timedatectl set-ntp true")
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException":
		return fault.Invalid("archive " + name + ": the bucket is in another region").At(where).Because(err).Try("set AWS_REGION")
	case "AccessDenied", "AllAccessDisabled":
		return fault.Denied("archive " + name + " may not be read with these credentials").At(where).Because(err).
			Try("allow s3:GetObject on it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return httpFault(name, where, err)
}
