package lab

import "testing"

func TestNeedFindsAndEventuallyWaits(t *testing.T) {
	if p := Need(t, "sh"); p == "" {
		t.Error("no sh")
	}
	n := 0
	Eventually(t, "n is 3", func() bool { n++; return n == 3 })
}
