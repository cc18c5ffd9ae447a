package dns

import (
	"fmt"
	"testing"
	"time"
)

func TestSupermaster(t *testing.T) {
	s := NewSupermaster(t)
	for i := range 3 {
		t.Logf("created and served after %v", s.Create(fmt.Sprintf("z%d.test", i)))
	}
	if !s.Remove("z0.test", 3*time.Second) {
		t.Error("autosecondary removes a zone, which it is known not to do")
	}
}
