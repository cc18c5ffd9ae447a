package access

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// PastRun is a run as the audit trail remembers it, on whatever core it ran.
type PastRun struct {
	ID       string                     `json:"id"`
	Action   string                     `json:"action"`
	Who      string                     `json:"who"`
	Door     string                     `json:"door"`
	From     string                     `json:"from,omitempty"`
	Host     string                     `json:"host"`
	State    Outcome                    `json:"state"` // started: it runs, or its core died meanwhile
	Started  time.Time                  `json:"started"`
	Duration string                     `json:"duration,omitempty"`
	Inputs   map[string]json.RawMessage `json:"inputs,omitempty"`
	Fault    *fault.Fault               `json:"fault,omitempty"`
}

// pastRuns folds records into runs, oldest first.
func pastRuns(records []Record) []PastRun {
	var runs []PastRun
	place := map[string]int{}
	for _, r := range records {
		if r.Run == "" || r.Action == cancelName {
			continue
		}
		i, ok := place[r.Run]
		if !ok {
			i = len(runs)
			place[r.Run] = i
			runs = append(runs, PastRun{
				ID: r.Run, Action: r.Action, Who: r.Who, Door: r.Door, From: r.From, Host: r.Host,
				Started: r.Time, Inputs: r.Inputs,
			})
		}
		runs[i].State, runs[i].Duration, runs[i].Fault = r.Outcome, r.Duration, r.Fault
	}
	return runs
}

// cancelName is how the trail calls the asking of a run to stop.
const cancelName = "run cancel"

type runListIn struct {
	Who    string `name:"who" help:"only the runs of this user or token" ja:"この利用者の実行だけ" complete:"users"`
	Action string `name:"action" help:"only this action, or all that begin with these words" ja:"この操作の実行だけ"`
	Since  string `name:"since" default:"7d" help:"only what is not older: 2h, 7d, 2006-01-02 or a time in RFC 3339" ja:"これ以降の実行だけ"`
}

type runIn struct {
	ID string `name:"id" arg:"" required:"" help:"id of the run; its end is enough" ja:"実行 ID。末尾だけでもよい" complete:"runs"`
}

func (a *Access) listRuns(ctx context.Context, _ *action.Run, in runListIn) ([]PastRun, error) {
	since, err := parseSince(in.Since, time.Now())
	if err != nil {
		return nil, err
	}
	records, err := a.Records(ctx, Filter{Who: in.Who, Action: in.Action, Since: since})
	if err != nil {
		return nil, err
	}
	runs := pastRuns(records)
	slices.Reverse(runs)
	return runs, nil
}

func (a *Access) showRun(ctx context.Context, _ *action.Run, in runIn) (PastRun, error) {
	records, err := a.Records(ctx, Filter{Run: in.ID})
	if err != nil {
		return PastRun{}, err
	}
	switch runs := pastRuns(records); {
	case len(runs) == 0:
		return PastRun{}, fault.NotFound("run " + in.ID + " changed nothing, or was never").Try("see: kaname run list")
	case len(runs) > 1:
		return PastRun{}, fault.Invalid("run " + in.ID + " names " + strconv.Itoa(len(runs)) + " runs").Try("give more of its characters")
	default:
		return runs[0], nil
	}
}

// parseSince reads "2h", "7d", a day or a time; empty is the beginning of time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(d); err == nil && days >= 0 {
			return now.AddDate(0, 0, -days), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.Invalid("since \"" + s + "\" is no time").Try("use 2h, 7d, 2006-01-02 or 2006-01-02T15:04:05Z")
}

// Completions are the candidates that access knows for a field: users, tokens.
func (a *Access) Completions(ctx context.Context, kind string) ([]string, error) {
	var names []string
	switch kind {
	case "users":
		people, err := a.Users(ctx)
		for _, p := range people {
			names = append(names, p.Name)
		}
		return names, err
	case "tokens":
		tokens, err := a.Tokens(ctx)
		for _, t := range tokens {
			names = append(names, t.ID)
		}
		return names, err
	default:
		return nil, nil
	}
}
