package mysql

import (
	"context"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib/mysql/picture"
)

func (r *service) topology(ctx context.Context, run *action.Run, in topologyIn) ([]picture.Row, error) {
	t, err := r.one(ctx, in.Topology, true)
	if err != nil {
		return nil, err
	}
	for _, reason := range t.Verdict.Reasons {
		run.Note(reason)
	}
	return picture.Rows(picture.Scene{Record: &t.Record, Verdict: t.Verdict, Members: t.Members, Details: t.Details}), nil
}
