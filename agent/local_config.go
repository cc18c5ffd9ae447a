package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
)

type configCheckIn struct {
	File string `name:"file" arg:"" help:"file to check; the one in use when absent" complete:"files"`

	settingsIn
}

// Checked is the verdict on a configuration.
type Checked struct {
	File     string          `json:"file"`
	OK       bool            `json:"ok"`
	Problems config.Problems `json:"problems,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
}

func (lo local) configCheck(_ context.Context, r *action.Run, in configCheckIn) (Checked, error) {
	if in.File != "" {
		in.Config = in.File
	}
	o, err := in.options(lo.ribs())
	if err != nil {
		return Checked{}, err
	}
	problems, err := config.Check(o)
	if err != nil {
		return Checked{}, err
	}
	if err := problems.Fault(); err != nil {
		return Checked{}, err
	}
	l, err := config.Load(o)
	if err != nil {
		return Checked{}, err
	}
	out := Checked{File: l.File, OK: true, Warnings: l.Warnings}
	if out.File == "" {
		out.File = "built-in defaults"
	}
	for _, w := range l.Warnings {
		r.Note(w)
	}
	return out, nil
}

type configShowIn struct {
	settingsIn

	Effective bool `name:"effective" help:"every value with its origin"`
	Reference bool `name:"reference" help:"every key with its default and meaning, as a file to begin with"`
}

// Shown is a configuration, as text and as values.
type Shown struct {
	Text   string         `json:"-"`
	Values []config.Value `json:"values"`
}

// String returns the file.
func (s Shown) String() string { return strings.TrimSuffix(s.Text, "\n") }

// MarshalJSON writes the values.
func (s Shown) MarshalJSON() ([]byte, error) { return json.Marshal(s.Values) }

func (lo local) configShow(_ context.Context, _ *action.Run, in configShowIn) (Shown, error) {
	o, err := in.options(lo.ribs())
	if err != nil {
		return Shown{}, err
	}
	var b strings.Builder
	if in.Reference {
		err := config.Reference(&b, Sections(lo.ribs()))
		return Shown{Text: b.String()}, err
	}
	l, err := config.Load(o)
	if err != nil {
		return Shown{}, err
	}
	values := l.Values()
	if in.Effective {
		err = l.Show(&b)
		return Shown{b.String(), values}, err
	}
	var set []config.Value
	for _, v := range values {
		if v.Origin != "default" {
			set = append(set, v)
			fmt.Fprintf(&b, "%s: %s  # %s\n", v.Key, v.Value, v.Origin)
		}
	}
	if len(set) == 0 {
		b.WriteString("# nothing is set; see all keys with --effective or --reference\n")
	}
	return Shown{b.String(), set}, nil
}

func (lo local) configSchema(context.Context, *action.Run, settingsIn) (json.RawMessage, error) {
	return json.MarshalIndent(config.Schema(Sections(lo.ribs())), "", "  ")
}
