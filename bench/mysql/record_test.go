package mysql

import (
	"encoding/json"
	"os"
	"sync"
	"time"
)

// figures returns the file to which figures are written, one JSON object a line; empty
// in the tests, which are small and measure nothing.
func figures() string { return os.Getenv("KANAME_BENCH") } //nolint:forbidigo // set by make bench only

var recording sync.Mutex

// record writes one figure.
func record(name string, value float64, unit, against string, ratio float64) {
	path := figures()
	if path == "" {
		return
	}
	recording.Lock()
	defer recording.Unlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	_ = json.NewEncoder(f).Encode(map[string]any{
		"name": name, "value": value, "unit": unit, "against": against, "ratio": ratio, "date": time.Now().UTC().Format(time.RFC3339),
	})
}
