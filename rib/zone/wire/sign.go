package wire

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA-1 is mandatory to implement (RFC 8945 section 6)
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Fudge is how far the clocks of two servers may differ, in seconds (RFC 8945 section 10).
const Fudge = 300

// maxUnsigned is how many messages of a transfer may be without a signature between two
// with one (RFC 8945 section 5.3.1).
const maxUnsigned = 99

// hashes of the algorithms.
var hashes = map[string]func() hash.Hash{
	"hmac-sha1": sha1.New, "hmac-sha224": sha256.New224, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
}

// Canonical returns the key with its name in canonical form, absolute, and says what is wrong with it.
func (k Key) Canonical() (Key, error) {
	err := k.check()
	if n, bad := name.Parse(k.Name); bad == nil {
		k.Name = n.String()
	}
	return k, err
}

// Signer signs and verifies the messages of one exchange, a request and its replies, in
// their order. It is not safe for concurrent use.
type Signer struct {
	key     Key
	secret  []byte
	mac     string // of the message before
	timers  bool   // a message of the same sender was signed before
	pending []byte // unsigned messages since
	skipped int
}

// NewSigner returns the signer of an exchange with the key.
func NewSigner(k Key) (*Signer, error) {
	k, err := k.Canonical()
	if err != nil {
		return nil, err
	}
	secret, err := base64.StdEncoding.DecodeString(k.Secret)
	if err != nil {
		return nil, err
	}
	return &Signer{key: k, secret: secret}, nil
}

// Sign returns the message in wire form with a TSIG record. The signatures of requests
// and of a transfer's replies follow on each other.
func (s *Signer) Sign(m *dns.Msg) ([]byte, error) {
	raw, err := m.Pack()
	if err != nil {
		return nil, err
	}
	return s.Append(raw, 0), nil
}

// Append appends a TSIG record to a message in wire form, signs it, and returns it. code
// is 0 or a TSIG error (RFC 8945 section 5.2): a reply with dns.RcodeBadSig is not
// signed, one with dns.RcodeBadTime carries the time of this host.
func (s *Signer) Append(raw []byte, code uint16) []byte {
	now := time48(time.Now())
	var other []byte
	if code == dns.RcodeBadTime {
		other = now
	}
	end := binary.BigEndian.AppendUint16(nil, code)
	end = binary.BigEndian.AppendUint16(end, uint16(len(other)))
	end = append(end, other...)
	times := binary.BigEndian.AppendUint16(now, Fudge)
	owner, algorithm := name.Name(s.key.Name).Wire(), name.Name(s.key.Algorithm+".").Wire()
	var mac []byte
	if code != dns.RcodeBadSig && code != dns.RcodeBadKey {
		mac = s.hmac(raw, owner, algorithm, times, end)
		s.mac = hex.EncodeToString(mac)
	}
	id := [2]byte{raw[0], raw[1]}
	raw = append(raw, owner...)
	raw = append(raw, 0, byte(dns.TypeTSIG), 0, dns.ClassANY, 0, 0, 0, 0)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(algorithm)+len(times)+2+len(mac)+2+len(end))) //nolint:gosec // a few hundred
	raw = append(append(raw, algorithm...), times...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(mac))) //nolint:gosec // at most 64
	raw = append(append(append(raw, mac...), id[:]...), end...)
	binary.BigEndian.PutUint16(raw[10:], binary.BigEndian.Uint16(raw[10:])+1)
	return raw
}

// hmac signs a message and the variables of its TSIG record (RFC 8945 section 4.3).
func (s *Signer) hmac(raw, owner, algorithm, times, end []byte) []byte {
	h := hmac.New(hashes[s.key.Algorithm], s.secret)
	if before, err := hex.DecodeString(s.mac); err == nil && len(before) > 0 {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(before)))) //nolint:gosec // at most 64
		h.Write(before)
	}
	h.Write(raw)
	if s.timers {
		h.Write(times)
		return h.Sum(nil)
	}
	h.Write(owner)
	h.Write([]byte{0, dns.ClassANY, 0, 0, 0, 0})
	h.Write(algorithm)
	h.Write(times)
	h.Write(end)
	return h.Sum(nil)
}

// time48 is a time in seconds, in 48 bits.
func time48(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))[2:] //nolint:gosec // after 1970
}

// Follow makes the next signatures those of a reply's further messages, which cover only
// the times (RFC 8945 section 5.3.1).
func (s *Signer) Follow() { s.timers = true }

// Request takes over the signature of a request that was verified, so that Sign signs
// the reply to it.
func (s *Signer) Request(t *dns.TSIG) { s.mac = t.MAC }

// Verify verifies the message m, whose wire form is raw, which it spoils. It returns
// ErrKey or ErrClock, wrapped.
func (s *Signer) Verify(raw []byte, m *dns.Msg) error {
	t := m.IsTsig()
	if t == nil {
		return s.skip(raw)
	}
	if t.Hdr.Class != dns.ClassANY || t.Hdr.Ttl != 0 { // the library signs them as they should be
		return fmt.Errorf("%w: its TSIG record has the class %d and the TTL %d (RFC 8945 section 4.2)", ErrKey, t.Hdr.Class, t.Hdr.Ttl)
	}
	err := dns.TsigVerifyWithProvider(raw, verifier{s}, s.mac, s.timers)
	s.mac, s.pending, s.skipped = t.MAC, s.pending[:0], 0
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dns.ErrTime):
		return clockError(time.Unix(int64(t.TimeSigned), 0)) //nolint:gosec // 48 bits
	case errors.Is(err, dns.ErrSig):
		return fmt.Errorf("%w: the answer's signature with %s is wrong; copy the key file again", ErrKey, s.key.Name)
	default:
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
}

// skip takes an unsigned message in the middle of a transfer.
func (s *Signer) skip(raw []byte) error {
	if s.skipped++; !s.timers || s.skipped > maxUnsigned {
		return fmt.Errorf("%w: the answer is not signed with %s", ErrKey, s.key.Name)
	}
	s.pending = append(s.pending, raw...)
	return nil
}

// Generate returns the HMAC of a message as the library lays it out (dns.TsigProvider).
func (s *Signer) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	algorithm := strings.TrimSuffix(strings.ToLower(t.Algorithm), ".")
	if n, err := name.Parse(t.Hdr.Name); err != nil || n.String() != s.key.Name || algorithm != s.key.Algorithm {
		return nil, fmt.Errorf("it is signed with the key %q of %s, not %s", t.Hdr.Name, algorithm, s.key.Name)
	}
	h := hmac.New(hashes[s.key.Algorithm], s.secret)
	// The library puts the length and octets of the MAC before the message; unsigned messages come between.
	if n := 2 + len(s.mac)/2; len(s.pending) > 0 && len(msg) >= n {
		h.Write(msg[:n])
		h.Write(s.pending)
		msg = msg[n:]
	}
	h.Write(msg)
	return h.Sum(nil), nil
}

// verifier makes a Signer a dns.TsigProvider, whose Verify is of another form.
type verifier struct{ *Signer }

func (v verifier) Verify(msg []byte, t *dns.TSIG) error {
	want, err := v.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(got, want) {
		return dns.ErrSig
	}
	return nil
}
