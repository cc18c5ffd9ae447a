// Package lab is what tests of several rooms share: real programs that a test
// needs, and waiting for something to become true. Its folders hold whole test
// beds: namespaces, a browser, servers. Only tests import it.
package lab

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// Need returns the path of a program. Where it is missing the test is skipped with
// the reason; under CI=true it fails, for there scripts/deps.sh has installed it.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(dir + "/" + program)
		}
	}
	if err != nil {
		missing(t, "program "+program+" is missing; see scripts/deps.sh")
	}
	return path
}

// NeedRoot ends the test as Need does unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root")
	}
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" { //nolint:forbidigo // CI is what this is about
		t.Fatal(why)
	}
	t.Skip(why)
}

// Soak reports whether the long tests were asked for (make soak).
func Soak() bool { return os.Getenv("KANAME_SOAK") != "" } //nolint:forbidigo // set by make soak only

// Eventually waits until cond holds, looking every 10 ms, and fails the test after
// 30 s. what completes "waited in vain until".
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s in vain until %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
