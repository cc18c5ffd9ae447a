package site

import (
	"context"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
)

// LinesIn is command lines to be run without a release: pre, then post, then success
// or failure.
type LinesIn struct {
	Hooks activate.Hooks `json:"hooks"`
}

// lines runs them, if this host allows commands.
func (s *Site) lines(ctx context.Context, c *plane.Call, in LinesIn) (activate.Outcome, error) {
	x := activate.Activation{ID: c.ID, Hooks: in.Hooks}
	if err := s.prepare(c, &x, ""); err != nil {
		return activate.Outcome{}, err
	}
	out, err := activate.Lines(ctx, x)
	s.o.Tell("release.commands", out)
	return out, err
}
