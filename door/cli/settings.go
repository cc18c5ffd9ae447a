package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// Output formats.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML, formatName}

// Ways of telling what happens meanwhile.
const (
	talkAuto  = "auto"  // bars on a terminal, JSON lines otherwise
	talkPlain = "plain" // a line a step
	talkJSON  = "json"  // each event as a JSON line
	talkNone  = "none"
)

var talks = []string{talkAuto, talkPlain, talkJSON, talkNone}

// settings are the flags that every command has, completed from the environment.
type settings struct {
	output    string
	json      bool
	progress  string
	server    string
	socket    string
	tokenFile string
	caFile    string

	// Only for actions that change something.
	dryRun   bool
	exitPlan bool
	yes      bool
	detach   bool
}

// reserved are the flags that no action's field may be named like.
var reserved = []string{"output", "json", "progress", "server", "socket", "token-file", "ca-file", "dry-run", "detailed-exitcode", "yes", "detach", "help"}

func (s *settings) global(f *pflag.FlagSet, env func(string) string, say func(en, ja string) string) {
	or := func(key, def string) string {
		if v := env(key); v != "" {
			return v
		}
		return def
	}
	f.StringVarP(&s.output, "output", "o", or("KANAME_OUTPUT", formatTable), say("how to print the result: ", "結果の形式: ")+strings.Join(formats, ", "))
	f.BoolVar(&s.json, "json", false, say("short for -o json", "-o json と同じ"))
	f.StringVar(&s.progress, "progress", or("KANAME_PROGRESS", talkAuto), say("how to tell on standard error what happens: ", "経過の表示 (標準エラー出力): ")+strings.Join(talks, ", "))
	f.StringVar(&s.server, "server", env("KANAME_SERVER"), say("core to call: https://core1:7421", "呼び出すコア: https://core1:7421"))
	f.StringVar(&s.socket, "socket", or("KANAME_SOCKET", api.DefaultSocket), say("local socket to call when no server is given", "--server がないときに使うソケット"))
	f.StringVar(&s.tokenFile, "token-file", env("KANAME_TOKEN_FILE"), say("file that holds the API token", "API トークンのファイル"))
	f.StringVar(&s.caFile, "ca-file", env("KANAME_CA_FILE"), say("PEM file of the CA of the server", "サーバーの CA (PEM)"))
}

func (s *settings) changing(f *pflag.FlagSet, say func(en, ja string) string) {
	f.BoolVar(&s.dryRun, "dry-run", false, say("say what would be done, and do nothing", "何が行われるかを示すだけで、実行しない"))
	f.BoolVar(&s.exitPlan, "detailed-exitcode", false, say("with --dry-run: exit 0 when nothing would change, 2 when something would", "--dry-run のとき: 変更がなければ 0、あれば 2 で終わる"))
	f.BoolVarP(&s.yes, "yes", "y", false, say("do not ask", "確認しない"))
	f.BoolVar(&s.detach, "detach", false, say("print the id of the run and do not wait for its end", "実行 ID を表示し、終わりを待たない"))
}

func (s *settings) format() string {
	if s.json {
		return formatJSON
	}
	return s.output
}

// check refuses values that are not among those allowed.
func (s *settings) check() error {
	if !contains(formats, s.format()) {
		return fault.Invalid("output format \"" + s.output + "\" does not exist").Try("use one of: " + strings.Join(formats, ", "))
	}
	if !contains(talks, s.progress) {
		return fault.Invalid("progress \"" + s.progress + "\" does not exist").Try("use one of: " + strings.Join(talks, ", "))
	}
	if s.exitPlan && !s.dryRun {
		return fault.Invalid("--detailed-exitcode goes with --dry-run")
	}
	return nil
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

// jsonTalk reports whether standard error is read by a program.
func (s *settings) jsonTalk(c *CLI) bool {
	return s.progress == talkJSON || s.progress == talkAuto && !terminal(c.o.Stderr)
}

// client makes the client that the settings ask for.
func (c *CLI) client() (*api.Client, error) {
	o := api.ClientOptions{Socket: c.set.socket, Server: c.set.server, CAFile: c.set.caFile, Door: "cli", Version: c.o.Version, Token: c.o.Env("KANAME_TOKEN")}
	if c.set.tokenFile != "" {
		b, err := os.ReadFile(c.set.tokenFile)
		if err != nil {
			return nil, fault.Invalid("token file cannot be read").Because(err)
		}
		o.Token = strings.TrimSpace(string(b))
	}
	return api.NewClient(o)
}
