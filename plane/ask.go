package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
)

// reply is how a core answers a question.
type reply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Fault  *fault.Fault    `json:"fault,omitempty"`
}

// Answer makes this core answer the questions that hosts ask under a name such as
// "release.file.find". host is who asks: the permissions of its key say so, not the
// question. The cores share the questions. fn decides what a host may know or
// change: a host is not trusted with more than it needs.
func Answer[In, Out any](p *Plane, name string, fn func(ctx context.Context, host string, in In) (Out, error)) error {
	if !topicName.MatchString(name) {
		return fault.Invalid(fmt.Sprintf("question %q cannot be answered", name))
	}
	if err := p.needCore("answering hosts"); err != nil {
		return err
	}
	answer := func(m *nats.Msg) (out reply) {
		defer func() {
			if v := recover(); v != nil {
				out = reply{Fault: fault.Internal(fmt.Sprintf("question %s panicked: %v", name, v)).Try("report it; this is a bug")}
			}
		}()
		token, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, subjectAsk), ".")
		var in In
		if err := json.Unmarshal(m.Data, &in); err != nil {
			return reply{Fault: fault.Invalid("question " + name + " cannot be read").Because(err)}
		}
		v, err := fn(p.life, hostOfToken(token), in)
		if err != nil {
			return reply{Fault: fault.Of(err)}
		}
		b, err := json.Marshal(v)
		if err != nil || len(b) > maxResult {
			return reply{Fault: fault.Internal(fmt.Sprintf("answer to %s of %d bytes cannot be sent", name, len(b))).Because(err)}
		}
		return reply{Result: b}
	}
	_, err := p.link.nc.QueueSubscribe(subjectAsk+"*."+name, "cores", func(m *nats.Msg) {
		token, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, subjectAsk), ".")
		if !p.mayAnswer(hostOfToken(token), m.Reply) {
			return
		}
		p.wg.Go(func() {
			b, err := json.Marshal(answer(m))
			if err == nil {
				_ = m.Respond(b) // the host asks again or gives up
			}
		})
	})
	return err
}

// Ask puts a question to a core and waits for the answer until ctx ends. It is for
// plain hosts, and works on cores too. A question that surely reached nobody is
// repeated; after a Timeout fault it may have been answered with effect.
func Ask[Out any](ctx context.Context, p *Plane, name string, in any) (Out, error) {
	var out Out
	q, err := json.Marshal(in)
	if err != nil {
		return out, fault.Invalid("question " + name + " cannot be written as JSON").Because(err)
	}
	ctx, stop := p.within(ctx)
	defer stop()
	ctx, cancel := bounded(ctx)
	defer cancel()
	for n := 0; ; n++ {
		m, err := p.link.nc.RequestWithContext(ctx, subjectAsk+hostToken(p.o.Host)+"."+name, q)
		if err != nil {
			if notSent(err) && pause(ctx, n) {
				continue
			}
			return out, fault.Unavailable("no core answered " + name).At(p.o.Host).Because(err).Try("is a core up and reachable from here, and as new as this host?")
		}
		var r reply
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return out, fmt.Errorf("question %s: read the answer: %w", name, err)
		}
		if r.Fault != nil {
			return out, r.Fault
		}
		if err := json.Unmarshal(r.Result, &out); err != nil {
			return out, fmt.Errorf("question %s: read the result: %w", name, err)
		}
		return out, nil
	}
}
