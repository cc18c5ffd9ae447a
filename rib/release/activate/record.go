package activate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

const (
	intentFile  = recordsDir + "/intent.json"
	historyFile = recordsDir + "/history.json"
)

// phase is how far an intent has come.
type phase string

const (
	phaseBegun   phase = "begun"   // pre may have run, current may have been switched
	phasePosted  phase = "posted"  // current is switched, post succeeded
	phaseUndoing phase = "undoing" // post failed, current is being switched back
)

// intent is an activation in progress, on disk from before its first effect until
// after its last.
type intent struct {
	Activation
	From  string    `json:"from"` // the version that was live; empty for none
	Phase phase     `json:"phase"`
	Began time.Time `json:"began"`
}

// Step is one entry of an app's history on a host.
type Step struct {
	Version    string    `json:"version"`    // that became live; empty: none was any more
	Activation string    `json:"activation"` // Activation.ID
	Time       time.Time `json:"time"`
}

// history is which releases were live, the last one last. A rollback removes what
// it takes back, so that the next one goes further back.
type history struct {
	Steps []Step `json:"steps"`
	Last  string `json:"last"` // id of the last activation that succeeded
}

// maxSteps is how many steps are kept.
const maxSteps = 50

// push records that a version became live. When it was live before the present one,
// what came after is forgotten.
func (h *history) push(s Step, back bool) {
	h.Last = s.Activation
	if back {
		for i := len(h.Steps) - 2; i >= 0; i-- {
			if h.Steps[i].Version == s.Version {
				h.Steps = h.Steps[:i]
				break
			}
		}
	}
	h.Steps = append(h.Steps, s)
	h.Steps = h.Steps[max(0, len(h.Steps)-maxSteps):]
}

// before returns the version that was live before the given one; empty for none.
func (h *history) before(version string) string {
	for _, v := range slices.Backward(h.Steps) {
		if v.Version != version {
			return v.Version
		}
	}
	return ""
}

// load reads a record; a missing one is the zero value and false.
func load[T any](root *os.Root, name string) (v T, ok bool, err error) {
	b, err := root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return v, false, nil
	}
	if err != nil {
		return v, false, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, false, fault.Corrupt("record " + name + " cannot be read").At(root.Name()).Because(err).Try("remove it: current stays as it is, what was in progress is forgotten")
	}
	return v, true, nil
}

// save replaces a record durably.
func save(root *os.Root, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := host.WriteBytes(root, name, 0o600, b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// drop removes a record durably.
func (a *App) drop(name string) error {
	if err := a.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.sync(recordsDir)
}
