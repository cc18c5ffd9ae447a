package knotctl

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUnitsTravel(t *testing.T) {
	want := Data{Command: "conf-set", Section: "zone", Item: "domain", ID: "\x03\x00;\n", Value: strings.Repeat("x", maxItem), Filter: "f"}
	b, err := want.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []Data
	if err := decode(bufio.NewReader(bytes.NewReader(b)), func(d Data) { got = append(got, d) }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Data{want}, got); d != "" {
		t.Error(d)
	}
	want.Value += "x"
	if _, err := want.encode(nil); err == nil {
		t.Error("an item that is too long is sent")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 16, 0, 1, 'a', 2, 26, 0, 0, 3})
	f.Add([]byte{0})
	f.Add([]byte{1, 99, 3})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var units []Data
		if decode(bufio.NewReader(bytes.NewReader(b)), func(d Data) { units = append(units, d) }) != nil {
			return
		}
		for i := range units {
			_, _ = units[i].encode(nil)
		}
	})
}

// TestCutReplies plays servers that stop in the middle.
func TestCutReplies(t *testing.T) {
	for _, reply := range []string{"", "\x00", "\x01", "\x01\x1a\x00\x09short", "\x07"} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path) //nolint:noctx // at once
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte(reply))
			_ = c.Close()
		}()
		c, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := c.Do(Data{Command: "status"}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("reply %q: %v", reply, err)
		}
		if time.Since(begun) > 5*time.Second {
			t.Error("it waits for ever")
		}
		_ = c.Close()
		_ = l.Close()
	}
}
