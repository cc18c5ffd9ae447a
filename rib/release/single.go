package release

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"kaname.dev/kaname/rib/release/files"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/swarm"
	"kaname.dev/kaname/rib/release/tuggle"
)

// openFiles readies single files.
func (r *service) openFiles() (err error) {
	if r.files != nil { // the loop was started again
		r.files.Open()
		return nil
	}
	t := r.settings().Tuggle
	f, err := files.New(files.Options{
		Plane: r.node.Plane, Store: r.store, Server: r.server, Client: r.node.PeerClient, Limits: swarm.NewLimits(0, int64(t.FetchRate)),
		Stats: r.stats, Place: fleet.Place(r.node.Labels), Slave: t.Slave, FetchTimeout: t.FetchTimeout, Log: r.node.Log,
	})
	if err != nil {
		return err
	}
	r.files = f
	f.Open()
	return nil
}

// serveTuggle offers tuggle's interface until ctx ends, if it is set up.
func (r *service) serveTuggle(ctx context.Context) {
	if err := r.files.Tidy(ctx); err != nil && ctx.Err() == nil {
		r.node.Log.Warn("single files are not tidied up", "err", err)
	}
	t := r.settings().Tuggle
	if t.Listen == "" {
		<-ctx.Done()
		return
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", t.Listen)
	if err != nil {
		r.node.Log.Error("tuggle's interface is not offered", "listen", t.Listen, "err", err)
		return
	}
	r.node.Log.Info("tuggle's interface is open", "listen", ln.Addr().String(), "slave", t.Slave)
	srv := &http.Server{
		Handler:           tuggle.New(r.files, tuggle.Options{Slave: t.Slave, Log: r.node.Log}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })() // transfers under way are cut: the process stops
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		r.node.Log.Error("tuggle's interface broke", "err", err)
	}
}
