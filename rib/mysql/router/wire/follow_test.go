package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// talk feeds a follower with packets: "c" from the client, "s" from the server.
func talk(f *Follower, list ...any) {
	for i := 0; i < len(list); i += 2 {
		var b []byte
		switch v := list[i+1].(type) {
		case string:
			b = []byte(v)
		case []byte:
			b = v
		}
		h := Head{Len: len(b), Start: b[:min(len(b), startBytes)]}
		if list[i] == "c" {
			f.FromClient(h)
		} else {
			f.FromServer(h)
		}
	}
}

func TestFollow(t *testing.T) {
	const (
		ok, inTrans, more = "\x00\x00\x00\x02\x00\x00\x00", "\x00\x00\x00\x03\x00\x00\x00", "\x00\x00\x00\x0a\x00\x00\x00"
		eof, eofMore      = "\xfe\x00\x00\x02\x00", "\xfe\x00\x00\x0a\x00"
		eofCursor         = "\xfe\x00\x00\x42\x00"
		eofLast           = "\xfe\x00\x00\x82\x00"
		failed            = "\xff\x48\x04#HY000no"
		progress          = "\xff\xff\xff\x01"
		prepared          = "\x00\x01\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00"
		execute           = "\x17\x01\x00\x00\x00\x01"
	)
	for _, c := range []struct {
		name                string
		caps                uint64
		say                 []any
		idle, trans, opaque bool
	}{
		{name: "nothing", idle: true},
		{name: "ping", say: []any{"c", "\x0e", "s", ok}, idle: true},
		{name: "in a query", say: []any{"c", "\x03x"}},
		{name: "error", say: []any{"c", "\x03x", "s", failed}, idle: true},
		{name: "begin", say: []any{"c", "\x03x", "s", inTrans}, idle: true, trans: true},
		{name: "commit", say: []any{"c", "\x03x", "s", inTrans, "c", "\x03y", "s", ok}, idle: true},
		{name: "rows to come", say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", eof, "s", "\x01a"}},
		{name: "rows", say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", eof, "s", "\x01a", "s", eof}, idle: true},
		{name: "a row like an error", say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", eof, "s", "\xfb", "s", "\x00", "s", eof}, idle: true},
		{name: "rows without eof", caps: CapNoEOF, say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", "\x01a", "s", "\xfe\x00\x00\x03\x00\x00\x00"}, idle: true, trans: true},
		{name: "error in rows", say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", eof, "s", failed}, idle: true},
		{name: "two results", say: []any{"c", "\x03x", "s", more}, idle: false},
		{name: "two results, over", say: []any{"c", "\x03x", "s", "\x01", "s", "col", "s", eof, "s", eofMore, "s", ok}, idle: true},
		{name: "progress", say: []any{"c", "\x03x", "s", progress, "s", progress}},
		{name: "progress, over", say: []any{"c", "\x03x", "s", progress, "s", ok}, idle: true},
		{name: "file", say: []any{"c", "\x03x", "s", "\xfbname", "c", "data", "c", ""}},
		{name: "file, over", say: []any{"c", "\x03x", "s", "\xfbname", "c", "data", "c", "", "s", ok}, idle: true},
		{name: "prepare", say: []any{"c", "\x16x", "s", prepared, "s", "p", "s", "p", "s", eof, "s", "col", "s", eof}, idle: true},
		{name: "prepare without eof", caps: CapNoEOF, say: []any{"c", "\x16x", "s", prepared, "s", "p", "s", "p", "s", "col"}, idle: true},
		{name: "prepare, not over", say: []any{"c", "\x16x", "s", prepared, "s", "p", "s", "p", "s", eof, "s", "col"}},
		{name: "cursor", say: []any{"c", execute, "s", "\x01", "s", "col", "s", eofCursor}, idle: true, trans: true},
		{name: "cursor, read", say: []any{"c", execute, "s", "\x01", "s", "col", "s", eofCursor, "c", "\x1c\x01\x00\x00\x00\x09", "s", "\x00row", "s", eofLast}, idle: true},
		{name: "cursor, closed", say: []any{"c", execute, "s", "\x01", "s", "col", "s", eofCursor, "c", "\x19\x01\x00\x00\x00"}, idle: true},
		{name: "long data", say: []any{"c", "\x18\x01\x00\x00\x00\x00\x00x"}, idle: true, trans: true},
		{name: "long data, used", say: []any{"c", "\x18\x01\x00\x00\x00\x00\x00x", "c", execute, "s", ok}, idle: true},
		{name: "statistics", say: []any{"c", "\x09", "s", "Uptime: 1"}, idle: true},
		{name: "columns of a table", say: []any{"c", "\x04t", "s", "col", "s", eof}, idle: true},
		{name: "option", say: []any{"c", "\x1b\x00\x00", "s", eof}, idle: true},
		{name: "reset", say: []any{"c", "\x18\x01\x00\x00\x00\x00\x00x", "c", "\x1f", "s", ok}, idle: true},
		{name: "change of user", say: []any{"c", "\x11u", "s", "\xfemysql_native_password\x00salt", "c", "proof", "s", ok}, idle: true},
		{name: "big", say: []any{"c", append([]byte("\x03"), make([]byte, MaxPayload-1)...), "c", "\x03rest", "s", ok}, idle: true},
		{name: "a replica", say: []any{"c", "\x12"}, opaque: true},
		{name: "an unknown command", say: []any{"c", "\x80"}, opaque: true},
		{name: "an idle server speaks", say: []any{"s", ok}, opaque: true},
		{name: "goodbye", say: []any{"s", failed}, opaque: true},
	} {
		f := Follow(c.caps, StatusAuto)
		talk(f, c.say...)
		if f.Idle() != c.idle || f.InTransaction() != c.trans || f.Opaque() != c.opaque {
			t.Errorf("%s: idle %t, in a transaction %t, opaque %t", c.name, f.Idle(), f.InTransaction(), f.Opaque())
		}
	}
}

func TestFollowLogin(t *testing.T) {
	g := Greeting{Version: "11", Nonce: Nonce(), Caps: 1<<32 - 1, Plugin: Native}
	for caps, opaque := range map[uint64]bool{
		CapProtocol41 | CapLongPassword: false, CapProtocol41: false, CapProtocol41 | CapTLS: true, CapProtocol41 | CapCompress: true,
		CapProtocol41 | CapZstd: true, CapProtocol41 | CapOptionalMeta: true, 0: true,
	} {
		var f Follower
		l := Login{Caps: caps, User: "u"}
		talk(&f, "s", g.Encode(), "c", l.Encode(false), "s", "\x00\x00\x00\x02\x00\x00\x00")
		if f.Opaque() != opaque || f.Idle() == opaque {
			t.Errorf("capabilities %#x: opaque %t, idle %t", caps, f.Opaque(), f.Idle())
		}
	}
}

func TestLoginTravels(t *testing.T) {
	g := Greeting{Version: "10.11-MariaDB", ID: 7, Nonce: Nonce(), Caps: CapProtocol41 | CapPluginAuth | CapSecure | CapTrack, Charset: 45, Status: 2, Plugin: Caching}
	got, err := ParseGreeting(g.Encode())
	if err != nil || got.Version != g.Version || got.ID != 7 || !bytes.Equal(got.Nonce, g.Nonce) || got.Caps != g.Caps || got.Charset != 45 || got.Plugin != Caching {
		t.Errorf("greeting: %+v, %v", got, err)
	}
	for _, caps := range []uint64{CapLenencAuth, CapSecure} {
		l := Login{
			Caps: caps | CapLongPassword | CapProtocol41 | CapConnectWithDB | CapPluginAuth | CapAttributes, MaxPacket: 99, Charset: 8,
			User: "app", Proof: []byte("12345678901234567890"), DB: "shop", Plugin: Native, Attributes: []byte("\x04\x01a\x01b"),
		}
		back, err := ParseLogin(l.Encode(false))
		if err != nil || back.User != "app" || back.DB != "shop" || back.Plugin != Native || !bytes.Equal(back.Proof, l.Proof) || !bytes.Equal(back.Attributes, l.Attributes) {
			t.Errorf("login: %+v, %v", back, err)
		}
	}
}

func TestOK(t *testing.T) {
	state := []byte("\x00\x0f\x0aautocommit\x03OFF\x01\x03\x02db\x05\x09\x08SET a=1;")
	state[len(state)-11] = 4
	b := append([]byte{0, 1, 7}, 0x02, 0x40, 0, 0)
	b = append(b, 2, 'h', 'i', byte(len(state)))
	o, ok := ParseOK(append(b, state...))
	if !ok || o.LastID != 7 || o.Vars["autocommit"] != "OFF" || o.Schema == nil || *o.Schema != "db" || o.Next == nil || *o.Next != "SET a=1;" {
		t.Fatalf("%+v, %t", o, ok)
	}
	if want := "\x00\x01\x07\x02\x00\x00\x00hi"; string(o.Untracked()) != want {
		t.Errorf("untracked: %q", o.Untracked())
	}
}

// Hostile packets break nothing.
func FuzzPackets(f *testing.F) {
	g := Greeting{Version: "1", Nonce: Nonce(), Plugin: Native}
	l := Login{Caps: CapProtocol41 | CapPluginAuth, User: "u"}
	f.Add(g.Encode(), l.Encode(false))
	f.Add([]byte("\x00\x01\x07\x02\x40\x00\x00\x02hi\x03\x00\x01\x00"), []byte("\x03select"))
	f.Fuzz(func(_ *testing.T, a, b []byte) {
		_, _ = ParseGreeting(a)
		_, _ = ParseLogin(a)
		if o, ok := ParseOK(a); ok {
			o.Untracked()
		}
		for _, f := range []*Follower{{}, Follow(binary.LittleEndian.Uint64(append(b, make([]byte, 8)...)), 0)} {
			talk(f, "s", a, "c", b, "s", a, "s", b, "c", a)
		}
	})
}
