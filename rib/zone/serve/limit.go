package serve

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter bounds what is done for nothing for a network (IPv4 /24, IPv6 /48), in constant
// memory: networks that share a place share its tokens.
type limiter struct {
	seed maphash.Seed
	mu   sync.Mutex
	at   [4096]struct {
		tokens float32
		last   time.Time
	}
}

// Tokens of a network: an answer of refusal, or an unsigned NOTIFY that is handed on,
// takes one.
const (
	limitRate  = 500 // a second
	limitBurst = 1000
)

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// allow takes a token; false when there is none.
func (l *limiter) allow(a netip.Addr, now time.Time) bool {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return false
	}
	i := maphash.Comparable(l.seed, p) % uint64(len(l.at))
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.at[i]
	b.tokens = min(limitBurst, b.tokens+float32(now.Sub(b.last).Seconds()*limitRate))
	if b.last.IsZero() {
		b.tokens = limitBurst
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// memory remembers the signatures of NOTIFY messages while they are in time, so that
// one that is sent again has no effect. It holds at most two generations of
// maxRemembered; the older one goes when the younger is full or old.
type memory struct {
	mu       sync.Mutex
	now, old map[string]struct{}
	since    time.Time
}

const (
	maxRemembered = 100_000
	// remember is longer than a signature is in time, both sides of the clock.
	remember = 11 * time.Minute
)

func newMemory() *memory { return &memory{now: map[string]struct{}{}} }

// fresh remembers a signature; false when it was seen before, or when so many came that
// an older one in time would have to be forgotten.
func (m *memory) fresh(mac string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.since) > remember {
		if now.Sub(m.since) > 2*remember {
			m.now = nil
		}
		m.old, m.now, m.since = m.now, map[string]struct{}{}, now
	}
	_, a := m.now[mac]
	_, b := m.old[mac]
	if a || b || len(m.now) >= maxRemembered {
		return false
	}
	m.now[mac] = struct{}{}
	return true
}
