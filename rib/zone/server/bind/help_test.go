package bind

import (
	"context"
	"testing"
	"time"
)

func contextOf(t *testing.T, limit time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), limit)
}
