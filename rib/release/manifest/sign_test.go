package manifest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

func keys(t *testing.T, password string) (manifest.PublicKey, manifest.PrivateKey) {
	t.Helper()
	pub, priv, err := manifest.GenerateKey(password)
	if err != nil {
		t.Fatal(err)
	}
	p, err := manifest.ParsePublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	k, err := manifest.ParsePrivateKey(priv, password)
	if err != nil {
		t.Fatal(err)
	}
	return p, k
}

func TestSignatures(t *testing.T) {
	m := sample()
	pub, priv := keys(t, "")
	other, otherPriv := keys(t, "")
	sig, err := m.Sign(priv)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := m.Verify(sig, []manifest.PublicKey{other, pub}); err != nil || !k.Equal(pub) {
		t.Errorf("%v %v", k, err)
	}
	if !strings.Contains(string(sig), "trusted comment: app:web\tversion:1.4.2+build.7") {
		t.Errorf("comment in %s", sig)
	}
	legacy := minisign.Sign(priv, m.Bytes()) // not prehashed, as older minisign
	if _, err := m.Verify(legacy, []manifest.PublicKey{pub}); err != nil {
		t.Error(err)
	}
	changed := sample()
	changed.Entries[1].Mode = 0o4777
	foreign, err := m.Sign(otherPriv)
	if err != nil {
		t.Fatal(err)
	}
	comment := []byte(strings.Replace(string(sig), "version:1.4.2", "version:9.9.9", 1))
	for name, tt := range map[string]struct {
		m    *manifest.Manifest
		sig  []byte
		keys []manifest.PublicKey
		kind fault.Kind
	}{
		"other contents":  {changed, sig, []manifest.PublicKey{pub}, fault.KindCorrupt},
		"changed comment": {m, comment, []manifest.PublicKey{pub}, fault.KindCorrupt},
		"other key":       {m, foreign, []manifest.PublicKey{pub}, fault.KindDenied},
		"no keys":         {m, sig, nil, fault.KindDenied},
		"empty":           {m, nil, []manifest.PublicKey{pub}, fault.KindCorrupt},
		"garbage":         {m, []byte("untrusted comment: x\nAAAA\n"), []manifest.PublicKey{pub}, fault.KindCorrupt},
	} {
		if _, err := tt.m.Verify(tt.sig, tt.keys); !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v, want %s", name, err, tt.kind)
		}
	}
	bad := sample()
	bad.App = "../x"
	if _, err := bad.Sign(priv); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("an invalid manifest was signed: %v", err)
	}
}

// encrypted is a private key with the password "secret", made by GenerateKey.
const encrypted = `untrusted comment: minisign encrypted secret key
RWRTY0Iy9NT/YOqMiWHZ+H38TLaIlidla5rP5DSBuT5jXneRjqEAAAACAAAAAAAAAEAAAAAARR9VE/BqsBRw8iQeyuWihhhCus7s3j0Zr1EPMcooqJlF9TEXQGOhuUPQVHk/RdGFWwcJ7yr406s8GjQyf9a1uluUgDF4v2FvOhXgcPTuP3hAV6Jddtt38thz/QsUj4WrNqV46MkafxQ=
`

func TestKeysThatCannotBeRead(t *testing.T) {
	if _, err := manifest.ParsePrivateKey([]byte(encrypted), ""); !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), "password") {
		t.Errorf("encrypted, without a password: %v", err)
	}
	for _, s := range []string{"", "nonsense", "untrusted comment: x\nAAAA"} {
		if _, err := manifest.ParsePrivateKey([]byte(s), ""); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("private %q: %v", s, err)
		}
		if _, err := manifest.ParsePublicKey([]byte(s)); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("public %q: %v", s, err)
		}
	}
}

// Each use of a password takes seconds and a gigabyte: minisign's choice of scrypt.
func TestKeysWithPassword(t *testing.T) {
	if os.Getenv("KANAME_SOAK") == "" {
		t.Skip("takes long; make soak runs it")
	}
	_, private, err := manifest.GenerateKey("other")
	if err != nil {
		t.Fatal(err)
	}
	for password, key := range map[string][]byte{"secret": []byte(encrypted), "other": private} {
		if _, err := manifest.ParsePrivateKey(key, password); err != nil {
			t.Error(err)
		}
	}
	if _, err := manifest.ParsePrivateKey(private, "wrong"); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("wrong password: %v", err)
	}
}

// The real minisign reads our keys and signatures, and we read its.
func TestWithMinisign(t *testing.T) {
	tool, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("needs minisign")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name string, b []byte) {
		if err := os.WriteFile(at(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	minisignTool := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), tool, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("minisign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	m := sample()
	put("m", m.Bytes())

	pub, priv, err := manifest.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	put("ours.pub", pub)
	put("ours.key", priv)
	key, err := manifest.ParsePrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := m.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	put("m.minisig", sig)
	if out := minisignTool("-V", "-m", "m", "-p", "ours.pub"); !strings.Contains(out, "app:web") {
		t.Errorf("minisign says %s", out)
	}

	minisignTool("-G", "-W", "-p", "theirs.pub", "-s", "theirs.key")
	minisignTool("-S", "-m", "m", "-s", "theirs.key", "-x", "theirs.sig")
	text := func(name string) []byte {
		b, err := os.ReadFile(at(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	theirs, err := manifest.ParsePublicKey(text("theirs.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(text("theirs.sig"), []manifest.PublicKey{theirs}); err != nil {
		t.Error(err)
	}
	if _, err := manifest.ParsePrivateKey(text("theirs.key"), ""); err != nil {
		t.Errorf("minisign's own private key: %v", err)
	}
	minisignTool("-S", "-m", "m", "-s", "ours.key", "-x", "ours.sig")
	ours, err := manifest.ParsePublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(text("ours.sig"), []manifest.PublicKey{ours}); err != nil {
		t.Error(err)
	}
}
