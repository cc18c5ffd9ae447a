package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kaname.dev/kaname/fault"
)

func order() Command {
	return Command{
		Call: "01JD", Name: "release.stage", Version: 2, Args: json.RawMessage(`{"app":"shop"}`),
		Hosts: []string{"web1", "web2"}, Until: time.Now().Add(time.Minute),
		Lease: "release/shop", Epoch: 7, Actor: json.RawMessage(`{"name":"alice"}`), Core: "core1",
	}
}

func sign(t *testing.T, a *Authority, c Command) []byte {
	t.Helper()
	b, err := a.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASignedCommandArrives(t *testing.T) {
	a := authority(t)
	c, err := a.Keys().Open(sign(t, a, order()), "web2", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "release.stage" || c.Version != 2 || string(c.Args) != `{"app":"shop"}` || c.Epoch != 7 || c.Lease != "release/shop" || c.From.IsZero() {
		t.Errorf("%+v", c)
	}
}

func TestCommandsThatAreRefused(t *testing.T) {
	a, b := authority(t), authority(t)
	now := time.Now()
	long, must := order(), order()
	long.Until = now.Add(13 * time.Hour)
	must.Must = []string{"quorum"}
	forever := order() // as a core that does not keep the limit would sign it
	forever.From, forever.Until = now, now.Add(48*time.Hour)
	body, err := json.Marshal(forever)
	if err != nil {
		t.Fatal(err)
	}
	signed := append([]byte(magic), sign(t, a, order())[len(magic):][:keyIDSize]...)
	signed = append(signed, ed25519.Sign(a.command, append([]byte(magic), body...))...)
	signed = append(signed, body...)

	for name, c := range map[string]struct {
		wire []byte
		host string
		now  time.Time
		want fault.Kind
	}{
		"another host":       {sign(t, a, order()), "web3", now, fault.KindDenied},
		"another plane":      {sign(t, b, order()), "web1", now, fault.KindDenied},
		"expired":            {sign(t, a, order()), "web1", now.Add(time.Minute + Skew + time.Second), fault.KindTimeout},
		"too early":          {sign(t, a, order()), "web1", now.Add(-Skew - time.Second), fault.KindTimeout},
		"unknown feature":    {sign(t, a, must), "web1", now, fault.KindUnsupported},
		"valid for too long": {signed, "web1", now, fault.KindDenied},
		"nothing":            {nil, "web1", now, fault.KindCorrupt},
		"plain JSON":         {[]byte(`{"call":"1","name":"x","hosts":["web1"]}` + strings.Repeat(" ", 100)), "web1", now, fault.KindCorrupt},
		"a later form":       {[]byte("kaname command 2\n" + strings.Repeat("x", 100)), "web1", now, fault.KindUnsupported},
	} {
		if _, err := a.Keys().Open(c.wire, c.host, c.now); kind(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Sign(long); kind(err) != fault.KindInvalid {
		t.Errorf("signed for 13 hours: %v", err)
	}
	if _, err := a.Keys().Open(sign(t, a, order()), "web1", now.Add(Skew)); err != nil {
		t.Errorf("clocks that differ by less than the skew: %v", err)
	}
}

// TestAnyChangedByteIsRefused flips, cuts and adds bytes anywhere.
func TestAnyChangedByteIsRefused(t *testing.T) {
	a := authority(t)
	good := sign(t, a, order())
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(good)
		switch i := rapid.IntRange(0, len(b)-1).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			b[i] ^= rapid.ByteRange(1, 255).Draw(t, "xor")
		case 1:
			b = b[:i]
		default:
			b = append(b, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "tail")...)
		}
		if c, err := a.Keys().Open(b, "web1", time.Now()); err == nil {
			t.Fatalf("accepted %+v", c)
		}
	})
}

func TestKeysRotateByEndorsementOnly(t *testing.T) {
	a := authority(t)
	old := a.Keys()
	b, err := a.RotateCommandKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.RotateCommandKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(sign(t, b, order()), "web1", time.Now()); kind(err) != fault.KindDenied {
		t.Errorf("a key is obeyed before it was adopted: %v", err)
	}
	got, err := old.Adopt(c.Keys()) // over two steps
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []*Authority{a, b, c} {
		if _, err := got.Open(sign(t, signer, order()), "web1", time.Now()); err != nil {
			t.Errorf("during a rotation: %v", err)
		}
	}
	again, err := Import(c.Export())
	if err != nil {
		t.Fatal(err)
	}
	if got, err = old.Adopt(again.Keys()); err != nil || len(got) != 3 {
		t.Errorf("endorsements do not survive the bundle: %v", err)
	}
	if got, err = got.Adopt(c.Retire().Keys()); err != nil || len(got) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	if _, err := got.Open(sign(t, a, order()), "web1", time.Now()); kind(err) != fault.KindDenied {
		t.Errorf("a retired key is obeyed: %v", err)
	}
	forged := Keyring{{Public: authority(t).Keys()[0].Public, By: old[0].ID(), Signature: make([]byte, 64)}}
	for name, offer := range map[string]Keyring{"forged": forged, "stranger": authority(t).Keys(), "empty": nil, "both": append(forged, old...)} {
		if k, err := old.Adopt(offer); kind(err) != fault.KindDenied || k != nil {
			t.Errorf("%s: %v %v", name, k, err)
		}
	}
}

// shown is the chain that a host shows.
func shown(i *Identity) (chain []*x509.Certificate) {
	for _, der := range i.state.Load().cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		chain = append(chain, c)
	}
	return chain
}

func TestTheCARotatesWithOverlap(t *testing.T) {
	a := authority(t)
	core, web1 := identity(t, a, Grant{Host: "core1", Role: RoleCore}), identity(t, a, Grant{Host: "web1", Role: RoleAgent})
	b, err := a.RotateCA()
	if err != nil {
		t.Fatal(err)
	}
	core2 := identity(t, b, Grant{Host: "core2", Role: RoleCore})
	if _, _, err := handshake(t, core2.ServerTLS(), web1.ClientTLS(CoreName)); err != nil {
		t.Errorf("an old host at a new core: %v", err)
	}
	renew := func(i *Identity, by *Authority) {
		csr, err := i.Request()
		if err != nil {
			t.Fatal(err)
		}
		out, err := (&Enroller{Authority: by}).issue(csr, Grant{Host: i.Host(), Role: i.Role()})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Install(out); err != nil {
			t.Fatal(err)
		}
	}
	renew(web1, b)
	if _, _, err := handshake(t, core.ServerTLS(), web1.ClientTLS(CoreName)); err != nil {
		t.Errorf("a renewed host at an old core: %v", err)
	}
	tok := b.NewToken()
	if ca, err := verifyPin(shown(core2), tok.Pin, time.Now()); err != nil || !ca.Equal(b.CAs()[0]) {
		t.Errorf("a token made after the rotation: %v", err)
	}
	b = b.Retire()
	renew(web1, b)
	if _, _, err := handshake(t, core.ServerTLS(), web1.ClientTLS(CoreName)); err == nil {
		t.Error("a host trusts the retired CA")
	}
}
