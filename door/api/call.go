package api

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// calling is one call on its way through the door.
type calling struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	id     access.Identity
	actor  action.Actor
	action action.Action
	in     action.Inputs
}

// call answers POST /v1/actions/{id}: it finds the action, asks whether the asker
// may, reads the inputs, and plans or runs it.
func (s *Server) call(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	a, err := s.actions.Find(r.PathValue("id"))
	if err != nil {
		return fault.Unsupported("action " + cut(r.PathValue("id"), 80) + " is not known to kaname " + s.Version + " on " + s.Host).
			Try("see: kaname help; if the action is newer than that, upgrade " + s.Host)
	}
	c := &calling{Server: s, w: w, r: r, id: id, actor: actor(r, id), action: a}
	// Bodies are read while the answer is written: events come before the upload ends.
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 needs no leave and has none to give
	if err := id.Allow(a); err != nil {
		c.note(r.Context(), c.record().Refused(err))
		return err
	}
	if c.in, err = readInputs(w, r); err != nil {
		return err
	}
	if r.URL.Query().Get("plan") != "" {
		return c.plan()
	}
	if err := a.Check(c.in); err != nil {
		return err
	}
	if err := c.sameGround(); err != nil {
		c.note(r.Context(), c.record().Refused(err))
		return err
	}
	return c.begin()
}

func (c *calling) record() access.Record {
	return access.NewRecord(c.id, c.actor.Door, from(c.r), c.action, c.in)
}

// plan answers with what the action would do. Files are known by name and size.
func (c *calling) plan() error {
	if err := c.action.Check(c.in); err != nil {
		return err
	}
	p, err := c.action.Plan(c.r.Context(), c.in)
	if err != nil {
		return err
	}
	reply(c.w, http.StatusOK, struct {
		Plan action.Plan `json:"plan"`
	}{p})
	return nil
}

// sameGround refuses a call whose plan was made on a state that is no more.
func (c *calling) sameGround() error {
	ground := c.r.Header.Get(HeaderGround)
	if ground == "" {
		return nil
	}
	shown := action.Inputs{Values: c.in.Values, Files: map[string]action.File{}}
	for k, f := range c.in.Files {
		shown.Files[k] = action.FileNamed(f.Name, f.Size)
	}
	p, err := c.action.Plan(c.r.Context(), shown)
	if err != nil {
		return err
	}
	if p.Ground != ground {
		return fault.Conflict(c.action.Name + ": the ground has moved since the plan was made").Try("look at the new plan: kaname " + c.action.Name + " --dry-run")
	}
	return nil
}

// begin starts the run and answers in the way that the asker wants.
func (c *calling) begin() error {
	detached := strings.Contains(c.r.Header.Get("Prefer"), "respond-async")
	if detached && len(c.in.Files) > 0 {
		return fault.Invalid(c.action.Name + ": a call with files cannot be answered before they are sent").Try("leave the preference respond-async out")
	}
	id, err := newID(c.r.Header.Get(HeaderRun))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.r.Context()))
	r, joined, err := c.Runs.begin(beginning(id, c.action, c.actor, c.in, c.Host), cancel)
	if err != nil || joined {
		cancel()
	}
	if err != nil {
		return err
	}
	if !joined {
		if c.action.Effect == action.Reads && !detached {
			defer context.AfterFunc(c.r.Context(), cancel)()
		}
		go func() { // Runs.close waits for it
			defer cancel()
			c.do(ctx, r, id)
		}()
	}
	c.w.Header().Set(HeaderRun, id)
	if detached {
		c.w.Header().Set("Location", "/v1/runs/"+id)
		reply(c.w, http.StatusAccepted, map[string]string{"run": id})
		return nil
	}
	c.answer(r)
	if len(c.in.Files) > 0 { // the body is the run's for as long as it runs
		<-r.done
		drain(c.w, c.r)
	}
	return nil
}

// do runs the action to its end. It has the audit trail before and after.
func (c *calling) do(ctx context.Context, r *run, id string) {
	rec := c.record()
	rec.Run = id
	audited := c.action.Effect != action.Reads
	begun := time.Now()
	var result json.RawMessage
	err := func() (err error) {
		if audited {
			rec.Outcome = access.OutcomeStarted
			if err := c.Access.Write(ctx, rec); err != nil {
				return err // what cannot be written down is not done
			}
		}
		result, err = c.run(ctx, r, id)
		return err
	}()
	if err != nil && ctx.Err() != nil && !fault.Is(err, fault.KindPartial) {
		err = (&fault.Fault{Kind: fault.KindCanceled, What: c.action.Name + " was cancelled"}).Because(err)
	}
	if audited {
		c.note(ctx, rec.Ended(err, time.Since(begun)))
	}
	r.end(result, err, time.Now().UTC())
}

// run calls the action; a panic becomes a fault.
func (c *calling) run(ctx context.Context, r *run, id string) (result json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.Log.Error("action panicked", "action", c.action.Name, "run", id, "panic", p, "stack", string(debug.Stack()))
			err = fault.Internal(c.action.Name + " met a bug; it is in the log of " + c.Host + " under run " + id)
		}
	}()
	out, err := c.action.Run(ctx, &action.Run{ID: id, Actor: c.actor, Emit: r.add}, c.in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}
