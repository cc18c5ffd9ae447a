package agent

import (
	"context"
	"os"
	"strings"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib"
)

// Catalog returns everything that this binary can do, unattached: the actions of
// the ribs, of access, about hosts, and the local ones, with those in more.
func Catalog(ribs func() []rib.Rib, more ...action.Action) action.Catalog {
	all := more
	for _, r := range ribs() {
		all = append(all, r.Actions...)
	}
	all = append(all, access.New().Actions()...)
	all = append(all, (&hosts{}).actions()...)
	all = append(all, local{ribs}.actions()...)
	return action.NewCatalog(all...)
}

// local holds the actions that run in the command line's own process. Their
// effect is Reads, though they start programs and write this host's own files:
// whoever types them means it, and a question would hang a unit file.
type local struct{ ribs func() []rib.Rib }

func (lo local) actions() []action.Action {
	return []action.Action{
		action.New("up", "Run a core: plane, agent, API and console in one", action.Reads, lo.up, action.Local(),
			action.InJapanese("コアを起動する（プレーン、エージェント、API、コンソール）"),
			action.WithLong("Everything that is needed is made at the first start: the certificate authority, this host's identity, the store. Nothing is asked. Other hosts join with a token from \"kaname token create\"."),
			action.WithExample("kaname up", "one core, ready for hosts to join"),
			action.WithExample("kaname up --set host.dir=/tmp/k,api.listen=127.0.0.1:0", "somewhere else than in /var/lib")),
		action.New("agent", "Run a plain host that has joined a plane", action.Reads, lo.agent, action.Local(),
			action.InJapanese("プレーンに参加したホストとして起動する"),
			action.WithExample("kaname agent", "after: kaname join TOKEN")),
		action.New("join", "Let this host join a plane", action.Reads, lo.join, action.Local(),
			action.InJapanese("このホストをプレーンに参加させる"),
			action.WithLong("Makes this host's key, has it certified by the core that made the token, and writes the identity and the few settings that an agent needs. The core is recognised by the token before the token is shown to it."),
			action.WithExample("kaname join kn1.6d1e….@core1:7421", "then start the agent: systemctl enable --now kaname-agent"),
			action.WithExample("kaname join - --core core1:7421 --labels role=web,zone=a <token", "the token from standard input")),
		action.New("doctor", "Find what commonly goes wrong on this host", action.Reads, lo.doctor, action.Local(),
			action.InJapanese("このホストの問題を診断する"),
			action.WithColumns("check", "verdict", "evidence", "remedy"),
			action.WithExample("kaname doctor", "exit 1 if anything is broken"),
			action.WithExample("kaname doctor -o json", "for monitoring")),
		action.New("config check", "Check a configuration file", action.Reads, lo.configCheck, action.Local(),
			action.InJapanese("設定ファイルを検査する"),
			action.WithExample("kaname config check", "exit 2 with line, column and a caret if it is wrong")),
		action.New("config show", "Show the configuration", action.Reads, lo.configShow, action.Local(),
			action.InJapanese("設定を表示する"),
			action.WithExample("kaname config show --effective", "each value with where it came from"),
			action.WithExample("kaname config show --reference", "every key with its default and meaning")),
		action.New("config schema", "Print the JSON schema of the configuration file", action.Reads, lo.configSchema, action.Local(),
			action.InJapanese("設定ファイルの JSON スキーマを出力する"),
			action.WithExample("kaname config schema >kaname.schema.json", "for editors that complete and check YAML")),
	}
}

// settingsIn is what every local action takes to find the configuration.
type settingsIn struct {
	Config string   `name:"config" help:"configuration file; /etc/kaname/kaname.yaml if there is one" complete:"files"`
	Set    []string `name:"set" help:"settings that override the file, as in host.dir=/srv/k,log.level=debug"`
}

// options returns where the configuration comes from.
func (in settingsIn) options(ribs []rib.Rib) (config.Options, error) {
	flags, err := in.flags()
	return config.Options{File: in.file(), Env: os.Environ(), Flags: flags, Sections: Sections(ribs)}, err
}

func (in settingsIn) file() string {
	if in.Config == "" {
		return os.Getenv("KANAME_CONFIG") //nolint:forbidigo // the one place where the file's name comes from
	}
	return in.Config
}

// flags reads key=value pairs; a piece without a dotted key belongs to the value
// before it, so that lists and labels can be given: host.labels=role=web,zone=a.
func (in settingsIn) flags() (map[string]string, error) {
	flags := map[string]string{}
	last := ""
	for _, piece := range in.Set {
		key, value, ok := strings.Cut(piece, "=")
		if ok && strings.Contains(key, ".") {
			flags[key], last = value, key
			continue
		}
		if last == "" {
			return nil, fault.Invalid("--set " + piece + " is not section.key=value").Try("see the keys with: kaname config show")
		}
		flags[last] += "," + piece
	}
	return flags, nil
}

// Stopped is what up and agent return in the end.
type Stopped struct {
	Host string `json:"host"`
	Text string `json:"text"`
}

func (lo local) up(ctx context.Context, _ *action.Run, in settingsIn) (Stopped, error) {
	return lo.live(ctx, in, true)
}

func (lo local) agent(ctx context.Context, _ *action.Run, in settingsIn) (Stopped, error) {
	return lo.live(ctx, in, false)
}

func (lo local) live(ctx context.Context, in settingsIn, core bool) (Stopped, error) {
	o, err := in.options(nil)
	if err != nil {
		return Stopped{}, err
	}
	if !core {
		setDefault(o.Flags, "plane.mode", in.defaultsToHost(lo.ribs()))
	}
	out := Stopped{Text: "stopped"}
	err = Run(ctx, Options{Config: o, Ribs: lo.ribs, Core: core, Ready: func(a Addresses) { out.Host = a.Host }})
	return out, err
}

func setDefault(flags map[string]string, key, value string) {
	if _, set := flags[key]; !set && value != "" {
		flags[key] = value
	}
}

// defaultsToHost returns "host" unless plane.mode is set somewhere: what "kaname
// agent" runs without a file.
func (in settingsIn) defaultsToHost(ribs []rib.Rib) string {
	o, err := in.options(ribs)
	if err != nil {
		return ""
	}
	// Checked as a core, which needs nothing else; real errors come up in Run.
	l, err := config.Load(o)
	if err != nil || l.Origin("plane.mode") != "default" {
		return ""
	}
	return "host"
}

// Groups returns a sentence for the first words of the actions here.
func Groups() map[string]action.Text {
	groups := access.Groups()
	groups["host"] = action.Text{EN: "Hosts of the plane: their state, labels, maintenance", JA: "ホストの状態・ラベル・メンテナンス"}
	groups["config"] = action.Text{EN: "The configuration of this host", JA: "このホストの設定"}
	return groups
}
