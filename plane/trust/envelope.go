package trust

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"kaname.dev/kaname/fault"
)

// maxValid is the longest time for which a command can be valid. It is below the 24
// hours for which hosts remember what they have done, so that no replay is new.
const maxValid = 12 * time.Hour

// Command is an order to hosts, as a core signs it.
type Command struct {
	Call    string          `json:"call"`            // ULID; done at most once on a host
	Name    string          `json:"name"`            // "release.stage"
	Version int             `json:"version"`         // of the inputs
	Args    json.RawMessage `json:"args"`            // the inputs
	Hosts   []string        `json:"hosts"`           // who shall do it; nobody else may
	From    time.Time       `json:"from"`            // valid from, by the core's clock
	Until   time.Time       `json:"until"`           // valid until, by the core's clock
	Lease   string          `json:"lease,omitempty"` // name of the lease it is sent under
	Epoch   uint64          `json:"epoch,omitempty"` // of the lease
	Actor   json.RawMessage `json:"actor,omitempty"` // who asked
	Core    string          `json:"core"`            // the host that signed
	// Must lists features that a receiver must know to obey the command safely. A
	// version that does not know one refuses. Unknown fields are ignored.
	Must []string `json:"must,omitempty"`
}

// A signed command on the wire is: magic, the ID of the key (8 bytes), the Ed25519
// signature (64 bytes), and the JSON of the Command. The signature is over the bytes
// as they are sent, with the magic as the separation of domains: nothing has to be
// encoded again to be checked.
const (
	magic     = "kaname command 1\n"
	keyIDSize = 8
	headSize  = len(magic) + keyIDSize + ed25519.SignatureSize
)

// Sign returns the command in its signed form. Call, Name, Hosts and Until must be
// set; From is now when zero.
func (a *Authority) Sign(c Command) ([]byte, error) {
	if c.From.IsZero() {
		c.From = a.now()
	}
	if c.Call == "" || c.Name == "" || len(c.Hosts) == 0 || !c.Until.After(c.From) {
		return nil, fault.Internal("a command to be signed lacks a call, a name, hosts or an end")
	}
	if c.Until.Sub(c.From) > maxValid {
		return nil, fault.Invalid("command " + c.Name + " would be valid for more than " + maxValid.String())
	}
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fault.Invalid("command " + c.Name + " cannot be encoded").Because(err)
	}
	id, err := hex.DecodeString(a.keys[0].ID())
	if err != nil {
		return nil, fault.Internal("encode the key's name").Because(err)
	}
	out := append([]byte(magic), id...)
	out = append(out, ed25519.Sign(a.command, append([]byte(magic), body...))...)
	return append(out, body...), nil
}

// Open checks a signed command as the host receives it and returns it. It refuses
// what is malformed (Corrupt), not signed by a pinned key or not for this host
// (Denied), not valid at this time (Timeout), and what needs a feature that this
// version lacks (Unsupported). When the signature is right, the command is returned
// along with the fault, so that the refusal can name the call. It does not know
// what was done before: ids and epochs are the caller's to compare.
func (k Keyring) Open(b []byte, host string, now time.Time) (Command, error) {
	var c Command
	if len(b) < headSize || !bytes.HasPrefix(b, []byte(magic)) {
		if bytes.HasPrefix(b, []byte("kaname command ")) {
			return c, fault.Unsupported("the command is in a form that this version does not know").At(host).Try("upgrade kaname on this host")
		}
		return c, fault.Corrupt("this is not a signed command").At(host)
	}
	id := hex.EncodeToString(b[len(magic):][:keyIDSize])
	sig, body := b[len(magic)+keyIDSize:headSize], b[headSize:]
	key, ok := k.Find(id)
	if !ok {
		return c, fault.Denied("the command is signed by key " + id + ", which this host does not trust").At(host).Try("if the plane was set up anew, join this host again")
	}
	if !ed25519.Verify(key.Public, append([]byte(magic), body...), sig) {
		return c, fault.Denied("the command's signature is wrong: it was altered or forged").At(host)
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fault.Corrupt("the signed command cannot be read").At(host).Because(err)
	}
	return c, c.check(host, now)
}

// check decides whether the host may do a command whose signature is right.
func (c Command) check(host string, now time.Time) error {
	if len(c.Must) > 0 {
		return fault.Unsupported("command " + c.Name + " needs " + quote(c.Must[0]) + ", which this version lacks").At(host).Try("upgrade kaname on this host")
	}
	if !slices.Contains(c.Hosts, host) {
		return fault.Denied("command " + c.Name + " (call " + c.Call + ") is not for this host").At(host)
	}
	if c.Call == "" || c.Name == "" {
		return fault.Corrupt("the signed command has no call or no name").At(host)
	}
	if c.Until.Sub(c.From) > maxValid {
		return fault.Denied("command " + c.Name + " is valid for longer than " + maxValid.String() + ", so a replay could not be told").At(host)
	}
	clock := "compare the clocks of this host and of " + c.Core
	if now.After(c.Until.Add(Skew)) {
		return fault.Timeout("command " + c.Name + " expired " + now.Sub(c.Until).Round(time.Second).String() + " ago by this host's clock").At(host).Try(clock)
	}
	if now.Before(c.From.Add(-Skew)) {
		return fault.Timeout("command " + c.Name + " is valid only in " + c.From.Sub(now).Round(time.Second).String() + " by this host's clock").At(host).Try(clock)
	}
	return nil
}
