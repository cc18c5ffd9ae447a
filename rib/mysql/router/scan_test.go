package router

import (
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		text, pins string
		looks      bool
	}{
		{text: "SELECT 1"},
		{text: "SELECT 'it''s @x', \"get_lock\", `@y` FROM t -- @z\n WHERE a=1 # @b\n AND c /* @d */ = 2"},
		{text: "INSERT INTO t VALUES ('a\\'@x')"},
		{text: "SELECT @@version, @@session.sql_mode"},
		{text: "set @x = 1", pins: pinUserVar},
		{text: "SELECT a INTO @x FROM t", pins: pinUserVar},
		{text: "select get_lock('a', 1)", pins: pinGetLock},
		{text: "LOCK TABLES t WRITE", pins: pinLock},
		{text: "SELECT * FROM t LOCK IN SHARE MODE"},
		{text: "FLUSH TABLES WITH READ LOCK", pins: pinLock},
		{text: "CREATE TEMPORARY TABLE t (a INT)", pins: pinTemp},
		{text: "create or replace temporary table t (a INT)", pins: pinTemp},
		{text: "CREATE /*!50000 TEMPORARY */ TABLE t (a INT)", pins: pinTemp},
		{text: "CREATE /*M!100000 TEMPORARY */ TABLE t (a INT)", pins: pinTemp},
		{text: "SELECT 1; PREPARE s FROM 'SELECT 1'", pins: pinPrepare},
		{text: "SELECT execute FROM prepare"},
		{text: "HANDLER t OPEN", pins: pinHandler},
		{text: "XA START 'a'", pins: pinXA},
		{text: "SET ROLE admin", pins: pinRole},
		{text: "SET SESSION session_track_schema=OFF", pins: pinTracking},
		{text: "SHOW WARNINGS", looks: true},
		{text: "SELECT ROW_COUNT()", looks: true},
		{text: "SELECT errors FROM t"},
		{text: "-"},
		{text: "/"},
		{text: "@", pins: pinUserVar},
		{text: "'"},
		{text: "/*"},
		{text: ""},
	} {
		s := read([]byte(c.text))
		if got := strings.Join(s.pins, " "); got != c.pins || s.looks != c.looks {
			t.Errorf("%q: pins %q, looks %t", c.text, got, s.looks)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("SELECT '\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := read(append(append([]byte{}, b...), "\n*/'`\"\n SET @x=1"...))
		_ = s // it ends, within the text
	})
}

func TestLastInsertID(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT LAST_INSERT_ID()": false, "select last_insert_id( )": false, "SELECT LAST_INSERT_ID(7)": true,
		"UPDATE t SET id=LAST_INSERT_ID(id+1)": false, // the answer tells
	} {
		s := session{}
		s.command(append([]byte{3}, text...))
		if got := !s.movable(); got != want {
			t.Errorf("%q: pinned %t", text, got)
		}
	}
}

func TestLiteral(t *testing.T) {
	for v, want := range map[string]string{
		"1": "1", "-0.5": "-0.5", "ON": "'ON'", "+09:00": "'+09:00'", "": "''", "a'b\\": "CONVERT(0x6127625c USING utf8mb4)", "1;": "CONVERT(0x313b USING utf8mb4)",
	} {
		if got := literal(v); got != want {
			t.Errorf("literal(%q) = %s", v, got)
		}
	}
}
