package move_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// A model of a database server, as far as a move of the primary depends on it. It keeps
// the traps that real ones have: a server waits for acknowledgements before it answers
// its client, what has not been acknowledged is in its binary log all the same and comes
// back after a crash; MariaDB deletes the relay log when one of two stopped threads is
// started, both flavours delete it when the source changes; an isolated lossless primary
// cannot be set read-only.

// trx is a transaction: num is its number in the world, origin and seq are its GTID.
type trx struct {
	num, origin int
	seq         uint64
}

type set []uint64

func (b *set) add(n int) {
	for len(*b) <= n/64 {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b set) has(n int) bool { return n/64 < len(b) && b[n/64]&(1<<(n%64)) != 0 }

// pending is a transaction whose client waits.
type pending struct {
	num   int
	epoch uint64
	acks  uint64 // bits of servers
}

type server struct {
	w    *world
	i    int
	name string

	up, paused bool
	backAt     time.Time // when it is started again
	boots      int
	open       bool
	epoch      uint64 // in which it was opened
	waits      int    // acknowledgements that a commit waits for
	waiting    []pending

	exec   []trx // binary log
	relay  []trx // received, not applied
	execd  set
	got    set // in relay
	seq    uint64
	own    uint64
	strays map[int]time.Time // written here by somebody who should not

	recv, appl bool
	broken     bool
	replies    bool
	source     *server
	next       int // in source.exec; -1: not connected
	boot       int // of the source, when it connected
	dialAt     time.Time
	refused    bool // by the source: it does not know this position
	news       time.Time
	slowUntil  time.Time
}

func (s *server) has(n int) bool { return s.execd.has(n) || s.got.has(n) }

func (s *server) alive() bool { return s.up && !s.paused }

// commit appends a transaction of a client to the binary log.
func (s *server) commit() trx {
	t := trx{num: s.w.nums, origin: s.i}
	s.w.nums++
	if s.w.flavour == gtid.MySQL {
		t.seq = s.own + 1
	} else {
		t.seq = s.seq + 1
	}
	s.append(t)
	return t
}

func (s *server) append(t trx) {
	s.exec = append(s.exec, t)
	s.execd.add(t.num)
	s.seq = t.seq
	if t.origin == s.i {
		s.own = max(s.own, t.seq)
	}
}

// write is a client's: it is answered when enough replicas have acknowledged.
func (s *server) write() {
	t := s.commit()
	if s.waits == 0 {
		s.w.acked(s, t.num, s.epoch)
		return
	}
	s.waiting = append(s.waiting, pending{num: t.num, epoch: s.epoch})
}

// answer gives the answers that can be given.
func (s *server) answer() {
	if !s.alive() {
		return
	}
	keep := s.waiting[:0]
	for _, p := range s.waiting {
		n := 0
		for b := p.acks; b != 0; b &= b - 1 {
			n++
		}
		if n >= s.waits {
			s.w.acked(s, p.num, p.epoch)
			continue
		}
		keep = append(keep, p)
	}
	s.waiting = keep
}

func (s *server) ackFrom(r *server) {
	for i := range s.waiting {
		if r.has(s.waiting[i].num) {
			s.waiting[i].acks |= 1 << r.i
		}
	}
}

// receive is a replica's receiver: it connects, takes what the source has, and
// acknowledges.
func (s *server) receive(now time.Time) {
	src := s.source
	if !s.alive() || !s.recv || src == nil {
		return
	}
	if s.next >= 0 && s.boot != src.boots {
		s.next, s.dialAt = -1, now.Add(200*time.Millisecond)
	}
	if s.next < 0 {
		if now.Before(s.dialAt) || !src.alive() || !s.w.link(s.i, src.i) || !s.w.link(src.i, s.i) {
			return
		}
		s.dialAt = now.Add(time.Second)
		if s.dial(src); s.next < 0 {
			return
		}
	}
	if !src.alive() || !s.w.link(src.i, s.i) {
		return
	}
	s.news = now
	for n := 0; n < 8 && s.next < len(src.exec); n++ {
		t := src.exec[s.next]
		s.next++
		if !s.has(t.num) {
			s.relay = append(s.relay, t)
			s.got.add(t.num)
		}
	}
	if s.replies && s.w.link(s.i, src.i) {
		src.ackFrom(s)
	}
}

// dial asks the source to send what comes after what the replica has.
func (s *server) dial(src *server) {
	s.refused = false
	if s.w.flavour == gtid.MySQL {
		s.next, s.boot = 0, src.boots
		return
	}
	last, any := s.last()
	if !any {
		s.next, s.boot = 0, src.boots
		return
	}
	for i, t := range src.exec {
		if t == last {
			s.next, s.boot = i+1, src.boots
			return
		}
	}
	s.refused = true
}

// last is the position up to which a MariaDB replica has received.
func (s *server) last() (trx, bool) {
	if len(s.relay) > 0 {
		return s.relay[len(s.relay)-1], true
	}
	if len(s.exec) > 0 {
		return s.exec[len(s.exec)-1], true
	}
	return trx{}, false
}

// apply is a replica's applier.
func (s *server) apply(now time.Time) {
	if !s.alive() || !s.appl || s.broken || now.Before(s.slowUntil) {
		return
	}
	for n := 0; n < 6 && len(s.relay) > 0; n++ {
		t := s.relay[0]
		if s.w.flavour == gtid.MariaDB && t.seq <= s.seq {
			s.broken, s.appl = true, false // gtid_strict_mode
			return
		}
		s.relay = s.relay[1:]
		if !s.execd.has(t.num) {
			s.append(t)
		}
	}
	if len(s.relay) == 0 {
		s.got = s.got[:0]
	}
}

// purge deletes the relay log: what was not applied is gone.
func (s *server) purge() {
	s.relay, s.got = nil, nil
	s.next = -1
}

func (s *server) startReceiver(now time.Time) { s.startThread(&s.recv, now) }

func (s *server) startApplier(now time.Time) {
	s.broken = false
	s.startThread(&s.appl, now)
}

func (s *server) startThread(thread *bool, now time.Time) {
	if s.w.flavour == gtid.MariaDB && !s.recv && !s.appl {
		s.purge()
	}
	if !*thread && thread == &s.recv {
		s.next, s.dialAt = -1, now
	}
	*thread = true
}

func (s *server) stopReceiver() { s.recv, s.next = false, -1 }

// follow is CHANGE MASTER and START.
func (s *server) follow(src *server, now time.Time) {
	s.purge()
	s.source, s.recv, s.appl, s.broken, s.refused = src, true, true, false, false
	s.dialAt = now.Add(s.w.some(200 * time.Millisecond))
}

// crash ends the process at once; what was synced stays.
func (s *server) crash(back time.Time) {
	s.up, s.paused, s.open, s.waits, s.waiting = false, false, false, 0, nil
	s.recv, s.appl, s.next = false, false, -1
	s.backAt = back
}

// boot starts it: closed, and replicating from nobody by itself.
func (s *server) start() {
	s.up = true
	s.boots++
	s.next = -1
}

// shut makes it read-only, which hangs while a commit waits.
func (s *server) shut() bool {
	if len(s.waiting) > 0 {
		return false
	}
	s.open, s.waits = false, 0
	return true
}

// cut ends the sessions that wait, and shuts it.
func (s *server) cut() {
	s.waiting = nil
	s.shut()
}

func (s *server) executed() string { return s.text(s.exec) }

func (s *server) received() string {
	if s.w.flavour == gtid.MySQL {
		return s.text(append(append([]trx(nil), s.exec...), s.relay...))
	}
	if t, ok := s.last(); ok {
		return position(t)
	}
	return ""
}

func position(t trx) string { return fmt.Sprintf("0-%d-%d", t.origin+1, t.seq) }

func uuid(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1) }

// text is a GTID set as the server prints it. Numbers of a server may have gaps.
func (s *server) text(list []trx) string {
	if len(list) == 0 {
		return ""
	}
	if s.w.flavour == gtid.MariaDB {
		return position(list[len(list)-1])
	}
	runs := make([][]uint64, len(s.w.servers))
	for _, t := range list {
		r := runs[t.origin]
		switch {
		case len(r) > 0 && r[len(r)-1]+1 == t.seq:
			r[len(r)-1]++
		default:
			r = append(r, t.seq, t.seq)
		}
		runs[t.origin] = r
	}
	var b strings.Builder
	for i, r := range runs {
		if len(r) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(uuid(i))
		for j := 0; j < len(r); j += 2 {
			fmt.Fprintf(&b, ":%d-%d", r[j], r[j+1])
		}
	}
	return b.String()
}

func (s *server) self() string {
	if s.w.flavour == gtid.MySQL {
		return uuid(s.i)
	}
	return strconv.Itoa(s.i + 1)
}

// only returns the transaction of a number.
func (s *server) only(num int) []trx {
	for _, t := range s.exec {
		if t.num == num {
			return []trx{t}
		}
	}
	return nil
}
