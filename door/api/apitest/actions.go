package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// AllKinds has a field of every kind.
type AllKinds struct {
	Text     string        `name:"text" arg:"" required:"" help:"a text" ja:"文字列"`
	Number   int           `name:"number" default:"7" help:"a number"`
	Flag     bool          `name:"flag" help:"a switch"`
	Wait     time.Duration `name:"wait" default:"1m30s" help:"a duration"`
	Size     action.Bytes  `name:"size" default:"20MiB" help:"a size"`
	List     []string      `name:"list" help:"a list" complete:"users"`
	Choice   string        `name:"choice" enum:"red,green" default:"red" help:"a choice"`
	Password action.Secret `name:"password" help:"a secret"`
	File     action.File   `name:"file" help:"a file"`
	Second   action.File   `name:"second" help:"another file"`
}

// Echoed is what test echo understood.
type Echoed struct {
	Text    string        `json:"text"`
	Number  int           `json:"number"`
	Flag    bool          `json:"flag"`
	Wait    time.Duration `json:"wait"`
	Size    action.Bytes  `json:"size"`
	List    []string      `json:"list"`
	Choice  string        `json:"choice"`
	Secret  int           `json:"secret_length"`
	File    string        `json:"file"` // name, announced size, length and digest
	Second  string        `json:"second"`
	Address string        `json:"address"`
}

func describeFile(f action.File) (string, error) {
	if f.Reader == nil || f.URL != "" {
		return "", nil
	}
	h := sha256.New()
	n, err := io.Copy(h, f.Reader)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d %s", f.Name, f.Size, n, hex.EncodeToString(h.Sum(nil)[:4])), nil
}

func echo(_ context.Context, r *action.Run, in AllKinds) (Echoed, error) {
	r.Note("hello")
	file, err := describeFile(in.File)
	if err != nil {
		return Echoed{}, err
	}
	second, err := describeFile(in.Second)
	if err != nil {
		return Echoed{}, err
	}
	return Echoed{
		in.Text, in.Number, in.Flag, in.Wait, in.Size, in.List, in.Choice, len(in.Password.Reveal()), file, second, in.File.URL,
	}, nil
}

// Row is one line of a table.
type Row struct {
	Host   string            `json:"host"`
	Labels map[string]string `json:"labels"`
	Size   action.Bytes      `json:"size"`
	Alive  bool              `json:"alive"`
	Seen   time.Time         `json:"seen"`
	Hidden string            `json:"hidden"`
}

// FailIn names the fault to end with.
type FailIn struct {
	Kind string `name:"kind" arg:"" required:"" help:"kind of fault, or panic, plain, canceled"`
}

func fail(_ context.Context, _ *action.Run, in FailIn) (struct{}, error) {
	switch in.Kind {
	case "panic":
		panic("test")
	case "plain":
		return struct{}{}, errors.New("plain error")
	case "canceled":
		return struct{}{}, context.Canceled
	}
	return struct{}{}, &fault.Fault{Kind: fault.Kind(in.Kind), What: "it was asked for", Where: "web1", Remedy: "do not ask"}
}

// WaitIn says how often to tick.
type WaitIn struct {
	Ticks int `name:"ticks" default:"3" help:"events to give, a millisecond apart; 0 gives them until it is cancelled"`
}

// Waited is how many ticks there were.
type Waited struct {
	Ticks int `json:"ticks"`
}

func wait(ctx context.Context, r *action.Run, in WaitIn) (Waited, error) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return Waited{n}, ctx.Err()
		case <-t.C:
		}
		r.Say(action.Event{Host: "web1", Step: "tick", State: action.StateRunning, Done: int64(n), Total: int64(in.Ticks), Text: strconv.Itoa(n)})
		if n == in.Ticks {
			r.Say(action.Event{Host: "web1", Step: "tick", State: action.StateDone})
			return Waited{n}, nil
		}
	}
}

// Counter is a thing that can be changed, for plans whose ground moves.
type Counter struct{ N int }

// CountIn says by how much.
type CountIn struct {
	By int `name:"by" default:"1" help:"how much to add"`
}

// Counted is where the counter stands.
type Counted struct {
	N int `json:"n"`
}

func (c *Counter) plan(_ context.Context, in CountIn) (action.Plan, error) {
	p := action.Plan{Summary: fmt.Sprintf("count from %d to %d", c.N, c.N+in.By), Ground: strconv.Itoa(c.N)}
	if in.By != 0 {
		p.Steps = []action.Step{{Host: "web1", What: fmt.Sprintf("add %d", in.By)}}
	}
	return p, nil
}

func (c *Counter) count(_ context.Context, _ *action.Run, in CountIn) (Counted, error) {
	c.N += in.By
	return Counted{c.N}, nil
}

// Actions are actions of every sort. Those that wait only change something.
func Actions(c *Counter) []action.Action {
	rows := func(context.Context, *action.Run, struct{}) ([]Row, error) {
		return []Row{
			{Host: "web1", Labels: map[string]string{"role": "web", "zone": "a"}, Size: 3 << 20, Alive: true, Seen: time.Unix(1700000000, 0).UTC(), Hidden: "x"},
			{Host: "ウェブ二号", Size: 512},
		}, nil
	}
	lastRow := func(ctx context.Context, r *action.Run, in struct{}) (Row, error) {
		list, err := rows(ctx, r, in)
		return list[1], err
	}
	example := action.WithExample("kaname test echo hello --flag", "says it back")
	return []action.Action{
		action.New("test echo", "Say back what was understood", action.Changes, echo, example, action.InJapanese("入力をそのまま返す"), action.WithLong("A paragraph.\n\nAnother one.")),
		action.New("test look", "Look and say back", action.Reads, echo, example),
		action.New("test rows", "List rows", action.Reads, rows, example, action.WithColumns("host", "labels", "size", "alive", "seen")),
		action.New("test row", "Show a row", action.Reads, lastRow, example),
		action.New("test fail", "End with a fault", action.Reads, fail, example),
		action.New("test break", "End with a fault after changing something", action.Changes, fail, example),
		action.New("test wait", "Change something for a while", action.Changes, wait, example),
		action.New("test watch", "Look for a while", action.Reads, wait, example),
		action.New("test count", "Count", action.Changes, c.count, action.WithPlan(c.plan), example),
		action.New("test wipe", "Destroy", action.Destroys, c.count, action.WithPlan(c.plan), example),
	}
}
