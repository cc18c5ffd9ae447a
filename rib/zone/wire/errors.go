package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Errors of talking to another server, wrapped in what says where and why.
var (
	ErrUnreachable = errors.New("it does not answer")
	ErrRefused     = errors.New("it refuses")                            // REFUSED: an access list, or a zone that it does not have
	ErrNotAuth     = errors.New("it is not authoritative for the zone")  // NOTAUTH without a TSIG error, NXDOMAIN, or no AA
	ErrServer      = errors.New("it has the zone but no contents of it") // SERVFAIL
	ErrKey         = errors.New("the TSIG key does not fit")             // BADKEY, BADSIG, unsigned or wrongly signed answers
	ErrClock       = errors.New("the clocks differ too much for TSIG")   // BADTIME
	ErrCut         = errors.New("the transfer is not whole")
	ErrAnswer      = errors.New("its answer makes no sense") // malformed, or another code
)

// failure says what went wrong with which peer.
func (p Peer) failure(what string, err error) error {
	return fmt.Errorf("%s: %s: %w", p.Address, what, err)
}

// netError classifies an error of a connection; cut is the error when the connection had
// been answering.
func netError(ctx context.Context, err, class error) error {
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: nothing came in time", class)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it closed the connection", class)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens there", class)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return fmt.Errorf("%w: %w", class, err)
}

// replyError returns what the reply's codes say is wrong; nil for NOERROR.
func replyError(r *dns.Msg, key *Key) error {
	if t := r.IsTsig(); t != nil && t.Error != 0 {
		return tsigError(t, key)
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeRefused:
		if key == nil {
			return fmt.Errorf("%w this host; allow it there, or give the key that it wants", ErrRefused)
		}
		return fmt.Errorf("%w the key %s or this host; allow it there", ErrRefused, key.Name)
	case dns.RcodeNotAuth:
		if key != nil && r.IsTsig() == nil {
			return fmt.Errorf("%w, or does not know the key %s", ErrNotAuth, key.Name)
		}
		return ErrNotAuth
	case dns.RcodeNameError:
		return fmt.Errorf("%w: it says that the name does not exist", ErrNotAuth)
	case dns.RcodeServerFailure:
		return fmt.Errorf("%w (SERVFAIL); look at its log", ErrServer)
	default:
		return fmt.Errorf("%w: %s", ErrAnswer, dns.RcodeToString[r.Rcode])
	}
}

// tsigError says what a TSIG record's error (RFC 8945 section 5.2) means.
func tsigError(t *dns.TSIG, key *Key) error {
	name := t.Hdr.Name
	if key != nil {
		name = key.Name
	}
	switch t.Error {
	case dns.RcodeBadSig:
		return fmt.Errorf("%w: the secret of %s differs (BADSIG); copy the key file again", ErrKey, name)
	case dns.RcodeBadKey:
		return fmt.Errorf("%w: it does not know the key %s with this algorithm (BADKEY); add the key there", ErrKey, name)
	case dns.RcodeBadTime:
		if b, err := hex.DecodeString(t.OtherData); err == nil && len(b) == 6 {
			var s int64
			for _, c := range b {
				s = s<<8 | int64(c)
			}
			return clockError(time.Unix(s, 0))
		}
		return fmt.Errorf("%w (BADTIME); set the clock that is wrong, there or here", ErrClock)
	case dns.RcodeBadTrunc:
		return fmt.Errorf("%w: it wants a longer signature (BADTRUNC)", ErrKey)
	default:
		return fmt.Errorf("%w: TSIG error %d", ErrKey, t.Error)
	}
}

// clockError says how far a server's clock is from this host's.
func clockError(there time.Time) error {
	here := time.Now().Truncate(time.Second)
	by, how := there.Sub(here), "ahead of"
	if by < 0 {
		by, how = -by, "behind"
	}
	return fmt.Errorf("%w: its clock says %s and is %s %s this host's; set the one that is wrong (chronyc tracking)",
		ErrClock, there.UTC().Format(time.RFC3339), by, how)
}
