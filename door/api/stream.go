package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/fault"
)

// heartbeat is how often an idle stream shows that it is alive.
const heartbeat = 15 * time.Second

// Media types of streams.
const (
	typeLines = "application/x-ndjson"
	typeSSE   = "text/event-stream"
)

// answer waits for the end of the run and answers with the result or the fault;
// an asker who accepts lines gets each event as it happens.
func (c *calling) answer(r *run) {
	if strings.Contains(c.r.Header.Get("Accept"), typeLines) {
		c.stream(c.w, c.r, r, c.id, newLineWriter(c.w))
		return
	}
	select {
	case <-r.done:
	case <-c.r.Context().Done():
		return // what only reads has been cancelled; everything else goes on
	}
	last := r.last(true)
	if last.Fault != nil {
		c.fail(c.w, c.r, last.Fault)
		return
	}
	reply(c.w, http.StatusOK, last)
}

// lineWriter writes the lines of a stream in one of the two formats.
type lineWriter interface {
	line(l Line) error
	beat() error
}

// stream writes the lines of the run after the one that the asker has seen, and
// ends with the run or the asker.
func (s *Server) stream(w http.ResponseWriter, req *http.Request, r *run, id access.Identity, out lineWriter) {
	after, _ := strconv.ParseUint(lastSeen(req), 10, 64)
	ctx := req.Context()
	w.WriteHeader(http.StatusOK)
	if flush(w) != nil {
		return
	}
	for {
		lines, ended, more := r.since(after)
		for _, l := range lines {
			if out.line(l) != nil {
				return
			}
			after = l.Seq
		}
		if ended {
			_ = out.line(r.last(mayTake(id, r))) // the asker may have gone
			_ = flush(w)
			return
		}
		if flush(w) != nil || waitMore(ctx, more, out, w) != nil {
			return
		}
	}
}

// waitMore waits for news and keeps the stream warm meanwhile.
func waitMore(ctx context.Context, more <-chan struct{}, out lineWriter, w http.ResponseWriter) error {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-more:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			if err := out.beat(); err != nil {
				return err
			}
			if err := flush(w); err != nil {
				return err
			}
		}
	}
}

// mayTake reports whether the result of the run is for the identity: only whoever
// asked gets it, for it may hold a new token.
func mayTake(id access.Identity, r *run) bool { return r.snapshot(false).Actor.Name == id.Name }

// flush sends what has been written; a client that does not take it in time is
// given up.
func flush(w http.ResponseWriter) error {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writePatience)) // see readJSON
	return rc.Flush()
}

func lastSeen(r *http.Request) string {
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		return v
	}
	return r.URL.Query().Get("after")
}

// ndjson writes one JSON object a line.
type ndjson struct{ enc *json.Encoder }

func newLineWriter(w http.ResponseWriter) ndjson {
	w.Header().Set("Content-Type", typeLines)
	return ndjson{json.NewEncoder(w)}
}

func (n ndjson) line(l Line) error { return n.enc.Encode(l) }

func (n ndjson) beat() error { return n.enc.Encode(struct{}{}) }

// sse writes server-sent events (WHATWG HTML §9.2): "event" is event, result or
// fault, "id" the sequence, "data" the JSON of the event, result or fault itself.
type sse struct{ w http.ResponseWriter }

func newSSE(w http.ResponseWriter) sse {
	w.Header().Set("Content-Type", typeSSE)
	w.Header().Set("X-Accel-Buffering", "no") // nginx in between must not hold events back
	return sse{w}
}

func (s sse) line(l Line) error {
	switch {
	case l.Event != nil:
		return s.send("event", l.Seq, l.Event)
	case l.Fault != nil:
		return s.send("fault", 0, l.Fault)
	default:
		return s.send("result", 0, l.Result)
	}
}

func (s sse) send(event string, id uint64, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if id > 0 {
		if _, err := fmt.Fprintf(s.w, "id: %d\n", id); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, b)
	return err
}

func (s sse) beat() error {
	_, err := s.w.Write([]byte(":\n\n"))
	return err
}

// followRun answers GET /v1/runs/{id}/events, as server-sent events or as lines.
func (s *Server) followRun(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	run, err := s.Runs.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if strings.Contains(r.Header.Get("Accept"), typeLines) {
		s.stream(w, r, run, id, newLineWriter(w))
		return nil
	}
	s.stream(w, r, run, id, newSSE(w))
	return nil
}

// followAll answers GET /v1/events: server-sent events named "run", one for each
// run that begins or ends, beginning with those that are remembered.
func (s *Server) followAll(w http.ResponseWriter, r *http.Request, _ access.Identity) error {
	s.tellRuns(w, r)
	return nil
}

// tellRuns ends when the asker has gone.
func (s *Server) tellRuns(w http.ResponseWriter, r *http.Request) {
	out := newSSE(w)
	_, pos, more := s.Runs.since(0)
	runs := s.Runs.list()
	w.WriteHeader(http.StatusOK)
	for {
		for _, run := range runs {
			if out.send("run", 0, run) != nil {
				return
			}
		}
		if flush(w) != nil || waitMore(r.Context(), more, out, w) != nil {
			return
		}
		runs, pos, more = s.Runs.since(pos)
	}
}

// listRuns answers GET /v1/runs with {"runs": […]}, newest first.
func (s *Server) listRuns(w http.ResponseWriter, _ *http.Request, _ access.Identity) error {
	reply(w, http.StatusOK, map[string][]Run{"runs": s.Runs.list()})
	return nil
}

// showRun answers GET /v1/runs/{id}.
func (s *Server) showRun(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	run, err := s.Runs.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, run.snapshot(mayTake(id, run)))
	return nil
}

// cancelRun answers DELETE /v1/runs/{id}: it asks the run to stop. The actor may,
// and whoever may call its action.
func (s *Server) cancelRun(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	run, err := s.Runs.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	info := run.snapshot(false)
	rec := access.Record{Who: id.Name, Role: string(id.Role), Door: actor(r, id).Door, From: from(r), Action: "run cancel", Run: info.ID}
	a, err := s.actions.Find(info.Action)
	if err == nil && info.Actor.Name != id.Name {
		err = id.Allow(a)
	}
	if err != nil {
		s.note(r.Context(), rec.Refused(err))
		return err
	}
	if a.Effect != 0 {
		rec.Outcome = access.OutcomeDone
		if err := s.Access.Write(r.Context(), rec); err != nil && !fault.Is(err, fault.KindUnavailable) {
			return err
		}
	}
	run.cancel()
	reply(w, http.StatusAccepted, run.snapshot(false))
	return nil
}
