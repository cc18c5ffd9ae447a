package accident

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Primary serves the catalogs of a case, as broken as they are, and a small zone for
// every member of them that was ever there. It answers SOA, AXFR, and IXFR as AXFR; a
// question signed with its key is answered signed, one without is answered too.
type Primary struct {
	notify []netip.AddrPort

	mu       sync.Mutex // guards the fields below
	catalogs map[string][]dns.RR
	modes    map[string]Mode
	members  map[string]bool
	asked    map[string]int // SOA questions since the last step
	servers  []*dns.Server
	wg       sync.WaitGroup
}

// Listen starts a primary at an address, by UDP and TCP, with a TSIG key (hmac-sha256,
// the secret in base64). Those in notify are told of each change. Close ends it.
func Listen(ctx context.Context, at netip.AddrPort, key, secret string, notify ...netip.AddrPort) (*Primary, error) {
	p := &Primary{notify: notify, catalogs: map[string][]dns.RR{}, modes: map[string]Mode{}, members: map[string]bool{}, asked: map[string]int{}}
	secrets := map[string]string{dns.CanonicalName(key): secret}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return nil, err
	}
	l, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	p.servers = []*dns.Server{
		{PacketConn: pc, Handler: p, TsigSecret: secrets}, {Listener: l, Handler: p, TsigSecret: secrets},
	}
	for _, s := range p.servers {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		p.wg.Go(func() { _ = s.ActivateAndServe() }) // Shutdown ends it
		<-up
	}
	return p, nil
}

// Close ends the primary.
func (p *Primary) Close() {
	for _, s := range p.servers {
		_ = s.Shutdown() // it may have ended by itself
	}
	p.wg.Wait()
}

// Play does one step, and tells consumers of it.
func (p *Primary) Play(ctx context.Context, s Step) error {
	changed := map[string]bool{}
	p.mu.Lock()
	clear(p.asked)
	for zone, m := range s.Modes {
		p.modes[zone] = m
		changed[zone] = true
	}
	for zone, text := range s.Catalogs {
		rrs, err := read(text)
		if err != nil {
			p.mu.Unlock()
			return fmt.Errorf("catalog %s: %w", zone, err)
		}
		p.catalogs[zone] = rrs
		changed[zone] = true
		for _, rr := range rrs {
			if ptr, ok := rr.(*dns.PTR); ok {
				p.members[dns.CanonicalName(ptr.Ptr)] = true
			}
		}
	}
	p.mu.Unlock()
	for zone := range changed {
		p.tell(ctx, zone)
	}
	return nil
}

// Asked returns how often the serial of a zone was asked for since the last step. A
// consumer that asks one question at a time has seen the step once it has asked twice.
func (p *Primary) Asked(zone string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[zone]
}

// tell sends NOTIFYs and waits for no answer: consumers look by themselves too.
func (p *Primary) tell(ctx context.Context, zone string) {
	d := net.Dialer{Timeout: time.Second}
	for _, a := range p.notify {
		m := new(dns.Msg)
		m.SetNotify(zone)
		raw, err := m.Pack()
		if err != nil {
			continue
		}
		if c, err := d.DialContext(ctx, "udp", a.String()); err == nil {
			_, _ = c.Write(raw) // a hint
			_ = c.Close()
		}
	}
}

// read reads zone file text with absolute names.
func read(text string) ([]dns.RR, error) {
	var rrs []dns.RR
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	return rrs, p.Err()
}

// member is the small zone that stands for each member. Its SOA names no host within it,
// for a member's name may be as long as a name can be.
func member(zone string) []dns.RR {
	rrs, err := read(fmt.Sprintf("%[1]s 60 IN SOA ns.invalid. host.invalid. 1 3600 600 604800 60\n%[1]s 60 IN NS ns.invalid.\n", strings.TrimSuffix(zone, ".")+"."))
	if err != nil {
		return nil // a name that no zone can have
	}
	return rrs
}

// ServeDNS answers one question.
func (p *Primary) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return
	}
	zone := dns.CanonicalName(q.Question[0].Name)
	p.mu.Lock()
	rrs, mode := p.catalogs[zone], p.modes[zone]
	if q.Question[0].Qtype == dns.TypeSOA {
		p.asked[zone]++
	}
	if rrs == nil && p.members[zone] {
		rrs = member(zone)
	}
	p.mu.Unlock()
	r := new(dns.Msg)
	r.SetReply(q)
	r.Authoritative = true
	if t := q.IsTsig(); t != nil {
		if w.TsigStatus() != nil {
			r.Rcode = dns.RcodeNotAuth
			_ = w.WriteMsg(r) // the asker may be gone
			return
		}
		r.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	}
	switch kind := q.Question[0].Qtype; {
	case mode == Timeout:
		return
	case mode == Refuse, rrs == nil:
		r.Rcode = dns.RcodeRefused
	case kind == dns.TypeSOA:
		r.Answer = rrs[:1]
	case kind == dns.TypeAXFR, kind == dns.TypeIXFR:
		p.transfer(w, q, rrs, mode)
		return
	}
	_ = w.WriteMsg(r) // the asker may be gone
}

// transfer sends a zone in small messages, or only its first half.
func (p *Primary) transfer(w dns.ResponseWriter, q *dns.Msg, rrs []dns.RR, mode Mode) {
	all := append(slices.Clip(rrs), rrs[0])
	if mode == Cut {
		all = all[:len(all)/2]
	}
	envelopes := make(chan *dns.Envelope, len(all)/10+1)
	for len(all) > 0 {
		n := min(len(all), 10)
		envelopes <- &dns.Envelope{RR: all[:n]}
		all = all[n:]
	}
	close(envelopes)
	_ = new(dns.Transfer).Out(w, q, envelopes) // the asker may be gone
	if mode == Cut {
		_ = w.Close()
	}
}

// Run plays a case from its second step on: each after the one before it has had at
// least its Wait, and settle has said that it has taken effect.
func (p *Primary) Run(ctx context.Context, c *Case, settle func(ctx context.Context) error) error {
	for _, s := range c.Steps[1:] {
		if err := p.Play(ctx, s); err != nil {
			return err
		}
		select {
		case <-time.After(s.Wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := settle(ctx); err != nil {
			return err
		}
	}
	return nil
}
