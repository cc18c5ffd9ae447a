package netpath

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/lesson"
	"kaname.dev/kaname/rib/netpath/show"
)

type explainIn struct {
	Topic string `name:"topic" arg:"" help:"what to explain; empty lists what can be" ja:"説明する項目。空なら一覧" `
	SVG   bool   `name:"svg" help:"print the drawing (SVG) that goes with it" ja:"図 (SVG) を出力する"`
	From  string `name:"from" help:"read this bundle instead of asking hosts and Neutron" ja:"ホストと Neutron の代わりにこのバンドルを読む" complete:"files"`
	Lang  string `name:"lang" enum:"en,ja" help:"language of the text: en or ja" ja:"文章の言語: en または ja"`
}

// Explained is a lesson, or the list of them.
type Explained struct {
	Topic   string `json:"topic"`
	Text    string `json:"text"`
	Drawing string `json:"drawing,omitempty"`
}

// String is the lesson for people.
func (e Explained) String() string {
	if e.Text == "" {
		return e.Drawing
	}
	return e.Text
}

func (r *service) explain(ctx context.Context, run *action.Run, in explainIn) (Explained, error) {
	list, err := lesson.All()
	if err != nil {
		return Explained{}, err
	}
	if in.Topic == "" {
		var b strings.Builder
		for _, l := range list {
			fmt.Fprintf(&b, "%-18s %s\n", l.ID, l.Title[language(in.Lang)])
		}
		return Explained{Text: b.String()}, nil
	}
	i := slices.IndexFunc(list, func(l lesson.Lesson) bool { return l.ID == in.Topic })
	if i < 0 {
		return Explained{}, fault.NotFound("nothing is taught about " + in.Topic).Try("kaname netpath explain")
	}
	src, err := r.source(in.From, run)
	if err != nil {
		return Explained{}, err
	}
	return teach(ctx, src, &list[i], in)
}

// teach tells a lesson with the names of the cloud, and draws the path that goes with it.
func teach(ctx context.Context, src source, l *lesson.Lesson, in explainIn) (Explained, error) {
	c, err := src.cloud(ctx)
	if err != nil {
		return Explained{}, err
	}
	lang := language(in.Lang)
	names := lesson.NamesOf(c)
	paragraphs, err := l.Paragraphs(lang, names)
	if err != nil {
		return Explained{}, err
	}
	out := Explained{Topic: l.ID}
	text := l.Title[lang] + "\n\n" + strings.Join(paragraphs, "\n\n") + "\n"
	if q, ok := l.Question(names); ok {
		t, err := answer(ctx, src, q)
		if err != nil {
			return Explained{}, err
		}
		out.Drawing = string(show.SVG(t, lang))
		text += "\n" + show.Text(t, show.Options{Lang: lang})
	} else {
		text += "\n" + action.Text{EN: "This cloud has no such path; the names are invented.", JA: "このクラウドにはこの経路がないため、名前は例です。"}.In(lang) + "\n"
	}
	if !in.SVG {
		out.Text = text
	}
	return out, nil
}

func language(s string) string {
	if s == "ja" {
		return "ja"
	}
	return "en"
}
