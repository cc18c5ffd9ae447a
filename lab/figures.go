package lab

import (
	"encoding/json"
	"os"
	"sync"
	"time"
)

// Figures returns the file to which figures are written, one JSON object a line; empty
// in the tests, which are small and measure nothing.
func Figures() string { return os.Getenv("KANAME_BENCH") } //nolint:forbidigo // set by make bench only

var recording sync.Mutex

// Record writes one figure to the file that Figures names: its value in a unit, what it was
// measured against, and value by that; 0 when there is nothing to compare.
func Record(name string, value float64, unit, against string, ratio float64) {
	path := Figures()
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
