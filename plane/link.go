package plane

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// link is this process's connection: a pipe to the server inside it, or TCP to
// the cores. It reconnects for as long as the plane is open.
type link struct {
	nc *nats.Conn
}

// dial connects. A plain host that finds no core keeps trying after dial has
// returned: the machine may have booted before its cores.
func dial(ctx context.Context, o Options, e *engine, a *auth, log *slog.Logger) (*link, error) {
	opts := []nats.Option{
		nats.Name(o.Host),
		nats.CustomInboxPrefix(strings.TrimSuffix(inboxPrefix, ".") + "." + hostToken(o.Host)),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error now, not a surprise later
		nats.Timeout(5 * time.Second),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(3),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("plane connection", "err", err, "subject", subject)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("plane connection lost, reconnecting", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("plane connection is back", "core", nc.ConnectedUrlRedacted()) }),
	}
	target := ""
	switch {
	case e != nil:
		opts = append(opts, nats.InProcessServer(e.s), nats.Token(a.secret))
	case o.External.URL != "":
		target = o.External.URL
		if o.External.Credentials != "" {
			opts = append(opts, nats.UserCredentials(o.External.Credentials))
		}
	default:
		target = strings.Join(urls(o.Cores), ",")
		opts = append(opts, nats.Secure(o.Identity.ClientTLS(trust.CoreName)))
	}
	if o.Mode == Host {
		opts = append(opts, nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort())
	}
	if t, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(min(5*time.Second, time.Until(t))))
	}
	nc, err := nats.Connect(target, opts...)
	if err != nil {
		return nil, fault.Unavailable("the plane cannot be reached").At(o.Host).Because(err).Try("is it running at " + target + "?")
	}
	return &link{nc: nc}, nil
}

func urls(cores []string) []string {
	var out []string
	for _, c := range cores {
		out = append(out, "tls://"+c)
	}
	return out
}

// reconnectDelay grows from about 50 ms to 5 s, with jitter: a thousand hosts
// that lost a core at the same moment must not return at the same moment.
func reconnectDelay(attempts int) time.Duration {
	d := min(50*time.Millisecond<<min(attempts, 7), 5*time.Second)
	return d/2 + rand.N(d) //nolint:gosec // jitter, not a secret
}

func (l *link) close() {
	if l != nil {
		l.nc.Close()
	}
}

// flush waits until the server has seen all that was sent and subscribed.
func (l *link) flush(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
	}
	return l.nc.FlushWithContext(ctx)
}

// transient reports whether err says that nobody answered or that the answer got
// lost: asking again may help, and the request may have been done.
func transient(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrDisconnected) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionReconnecting)
}

// notSent reports whether err says that a request surely reached nobody.
func notSent(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting)
}
