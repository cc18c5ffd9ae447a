package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
)

// Event is an entry of the plane's log.
type Event struct {
	Seq   uint64          `json:"seq"`
	Time  time.Time       `json:"time"` // when the store took it
	Host  string          `json:"host"` // who appended it; enforced by permissions, not claimed
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
}

// TopicAudit is the topic of the audit: a log of its own, with its own sequence
// numbers, from which nothing can be deleted and to which only cores append.
const TopicAudit = "audit"

// isAudit reports whether a topic, or a prefix of one, belongs to the audit.
func isAudit(topic string) bool {
	return topic == TopicAudit || strings.HasPrefix(topic, TopicAudit+".")
}

// Emit appends an event under a topic such as "release.deploy"; it returns when
// the store has it. On a plain host a core takes it to the store. After a Timeout
// fault it may have been stored.
func (p *Plane) Emit(ctx context.Context, topic string, v any) error {
	if !topicName.MatchString(topic) {
		return fault.Invalid(fmt.Sprintf("%q is not a topic", topic)).Try("use words of a-z, 0-9, _ and - joined by dots")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fault.Invalid("event " + topic + " cannot be written as JSON").Because(err)
	}
	if p.IsCore() {
		return p.record(ctx, p.o.Host, topic, data)
	}
	if isAudit(topic) {
		return p.needCore("the audit")
	}
	return p.hand(ctx, topic, data)
}

// record stores an event of a host.
func (p *Plane) record(ctx context.Context, host, topic string, data json.RawMessage) error {
	stream, root := streamEvent, subjectLog
	if isAudit(topic) {
		stream, root = streamAudit, subjectAudit
	}
	_, err := p.store.append(ctx, stream, root+hostToken(host)+"."+topic, envelope{V: data}, nil)
	if err != nil {
		return fmt.Errorf("event %s: %w", topic, err)
	}
	return nil
}

// hand gives an event to a core, which stores it, and waits for its word.
func (p *Plane) hand(ctx context.Context, topic string, data []byte) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for n := 0; ; n++ {
		try, stop := context.WithTimeout(ctx, tryFor*2)
		reply, err := p.link.nc.RequestWithContext(try, subjectEvent+hostToken(p.o.Host)+"."+topic, data)
		stop()
		if err == nil {
			if len(reply.Data) == 0 {
				return nil
			}
			var f fault.Fault
			if err := json.Unmarshal(reply.Data, &f); err != nil {
				return fmt.Errorf("event %s: read the core's answer: %w", topic, err)
			}
			return &f
		}
		// A lost answer is not repeated blindly: only what surely reached nobody is.
		if !notSent(err) || !pause(ctx, n) {
			kind := fault.Unavailable
			if !notSent(err) {
				kind = fault.Timeout
			}
			return kind("event " + topic + " was not taken by a core").At(p.o.Host).Because(err).Try("is a core up and reachable from here?")
		}
	}
}

// takeEvents makes this core take the events of plain hosts. The cores share
// them by a queue group.
func (p *Plane) takeEvents() error {
	_, err := p.link.nc.QueueSubscribe(subjectEvent+"*.>", "cores", func(m *nats.Msg) {
		p.wg.Go(func() { p.takeEvent(m) })
	})
	return err
}

func (p *Plane) takeEvent(m *nats.Msg) {
	host, topic, ok := strings.Cut(strings.TrimPrefix(m.Subject, subjectEvent), ".")
	if !p.mayAnswer(hostOfToken(host), m.Reply) {
		return
	}
	var err error
	switch {
	case !ok || !topicName.MatchString(topic) || !json.Valid(m.Data):
		err = fault.Invalid("event " + topic + " is malformed")
	case isAudit(topic):
		err = fault.Denied("only cores write the audit")
		p.refused.add(attempt{Host: hostOfToken(host), What: "event", Subject: topic})
	case topic == topicCommandRefused:
		p.takeRefusal(hostOfToken(host), m.Data)
	default:
		err = p.record(p.life, hostOfToken(host), topic, m.Data)
	}
	var answer []byte
	if err != nil {
		answer, _ = json.Marshal(fault.Of(err))
	}
	_ = m.Respond(answer) // the host asks again or gives up
}

// Follow yields the events whose topic begins with prefix, from sequence from
// (0: from now on; 1: all that are kept), and then those that come. It ends with
// ctx. A prefix that begins with "audit" follows the audit, any other the events
// without it.
func (p *Plane) Follow(ctx context.Context, prefix string, from uint64) iter.Seq2[Event, error] {
	return p.events(ctx, prefix, from, nil)
}

// Kept yields the events that are stored now, from sequence from on (1: all), and
// ends. Prefix is as for Follow. In a cluster, what another core has just written
// may be missing.
func (p *Plane) Kept(ctx context.Context, prefix string, from uint64) iter.Seq2[Event, error] {
	return p.events(ctx, prefix, from, func() bool { return false })
}

// events follows until caughtUp, asked at the end of what is stored, returns false.
func (p *Plane) events(ctx context.Context, prefix string, from uint64, caughtUp func() bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := p.needCore("following events"); err != nil {
			yield(Event{}, err)
			return
		}
		stream, root := streamEvent, subjectLog
		if isAudit(prefix) {
			stream, root = streamAudit, subjectAudit
		}
		if from == 0 {
			next, err := p.store.end(ctx, stream)
			if err != nil {
				yield(Event{}, err)
				return
			}
			from = next
		}
		p.store.follow(ctx, p.life, stream, root+">", from, func(rec record) bool {
			e, err := eventOf(rec, root)
			if err == nil && !strings.HasPrefix(e.Topic, prefix) {
				return true
			}
			return yield(e, err)
		}, caughtUp)
	}
}

func eventOf(rec record, root string) (Event, error) {
	host, topic, _ := strings.Cut(strings.TrimPrefix(rec.subject, root), ".")
	e := Event{Seq: rec.seq, Time: rec.time, Host: hostOfToken(host), Topic: topic}
	var env envelope
	if err := json.Unmarshal(rec.data, &env); err != nil {
		return e, fault.Corrupt(fmt.Sprintf("event %d cannot be read", rec.seq)).Because(err)
	}
	e.Data = env.V
	return e, nil
}
