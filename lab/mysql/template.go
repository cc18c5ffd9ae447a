package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tools returns the folder in the user's cache in which the lab keeps what is made once
// a machine.
func tools(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "kaname-tools")
}

// template returns a data directory with the seed in it, made once a machine for each
// version. initialize makes an empty one; argv is the command line of a server on it.
func template(t testing.TB, flavour, version string, initialize func(data string) *exec.Cmd, argv func(*Server) []string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(version + strings.Join(seed, "\n") + "2"))
	final := filepath.Join(tools(t), "data-"+flavour+"-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(final+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(final); err == nil {
		return final
	}
	began := time.Now()
	s := &Server{Flavour: flavour, Name: "template", IP: "127.0.0.1", Port: freePort(t), ID: 1, t: t}
	s.folder("")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := initialize(s.DataDir)
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	out, err := cmd.CombinedOutput()
	stop()
	if err != nil {
		t.Fatalf("initialise %s: %v: %s", flavour, err, out)
	}
	s.fill(t, append(argv(s), "--skip-log-bin"))
	made := final + ".new"
	_ = os.RemoveAll(made)
	if out, err := exec.Command("cp", "-a", "--reflink=auto", s.DataDir, made).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", s.DataDir, err, out)
	}
	if err := os.Rename(made, final); err != nil {
		t.Fatal(err)
	}
	t.Logf("made the template of %s %s in %s", flavour, version, time.Since(began).Round(100*time.Millisecond))
	return final
}

// fill starts the server without a binary log, writes the seed and ends it in order.
func (s *Server) fill(t testing.TB, argv []string) {
	t.Helper()
	s.argv, s.dbs = argv, map[string]*sql.DB{}
	t.Cleanup(s.end)
	if s.Flavour == FlavourMySQL {
		s.argv = append(s.argv, "--gtid-mode=OFF", "--super-read-only=OFF", "--read-only=OFF")
	} else {
		s.argv = append(s.argv, "--read-only=OFF")
	}
	s.Start(t)
	s.Exec(t, seed...)
	s.Shutdown()
	// A copy makes its own server_uuid, and double write files of the size that it is told.
	for _, pattern := range []string{"auto.cnf", "*.dblwr"} {
		found, _ := filepath.Glob(filepath.Join(s.DataDir, pattern))
		for _, f := range found {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}
