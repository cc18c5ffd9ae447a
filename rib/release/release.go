// Package release brings a release to every host: stored once on a core, spread
// from host to host, unpacked where it arrives, made live in waves, taken back in
// a second.
//
// The core holds three kinds of document. A release says what was pushed; an app
// says which release is wanted where, with which settings; a deploy is the story
// of one change of that, from which any core can go on where another stopped.
// Hosts serve commands (release.stage, release.activate, …) that are idempotent
// and know nothing of waves. What to do next is decided by package rollout, a pure
// function; what a host does is done by the packages beside it.
//
// The invariants: nothing is live that was not verified; current names a complete
// release at every instant; of two deploys of an app one waits or is refused; the
// digest of the manifest in the signed command is the one anchor of integrity.
package release

import (
	"context"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib"
)

// Rib returns the rib, unattached: no I/O happens before Attach.
func Rib() rib.Rib {
	r := newService()
	return rib.Rib{
		Name:    "release",
		Summary: action.Text{EN: "Bring a release to every host, live in waves, and back in a second", JA: "リリースを全ホストへ配り、段階的に公開し、一秒で戻す"},
		Config:  &r.config,
		Attach:  r.attach,
		Run:     r.run,
	}
}

// service is the rib on one node.
type service struct {
	config Config
	node   rib.Node
}

func newService() *service { return &service{config: defaultConfig()} }

// attach readies the rib on this node.
func (r *service) attach(n rib.Node) error {
	r.node = n
	return nil
}

// run is the rib's loop.
func (r *service) run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
