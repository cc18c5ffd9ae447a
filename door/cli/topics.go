package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// ExitCodes are the exit codes of every command, for help and manual pages.
func ExitCodes() []struct {
	Code    int
	Meaning action.Text
} {
	type row = struct {
		Code    int
		Meaning action.Text
	}
	return []row{
		{fault.ExitOK, action.Text{EN: "done, or nothing to do", JA: "完了、または変更なし"}},
		{fault.ExitFailed, action.Text{EN: "failed", JA: "失敗"}},
		{fault.ExitUsage, action.Text{EN: "wrong usage or configuration; with --dry-run --detailed-exitcode: something would change", JA: "使い方か設定の誤り。--dry-run --detailed-exitcode では「変更あり」"}},
		{fault.ExitPartial, action.Text{EN: "done on some hosts, not on others", JA: "一部のホストで失敗"}},
		{fault.ExitUnreachable, action.Text{EN: "a needed part does not answer", JA: "必要な相手が応答しない"}},
		{fault.ExitDenied, action.Text{EN: "denied, or waiting for approval", JA: "権限がない、または承認待ち"}},
		{fault.ExitConflict, action.Text{EN: "the ground moved since the plan, or the thing exists already", JA: "計画後に状態が変わった、または既に存在する"}},
		{fault.ExitNotFound, action.Text{EN: "the named thing does not exist", JA: "指定したものが存在しない"}},
		{fault.ExitTimeout, action.Text{EN: "the time given ran out", JA: "時間切れ"}},
		{fault.ExitInterrupted, action.Text{EN: "interrupted, or not agreed to", JA: "中断された、または同意されなかった"}},
	}
}

// Environment are the environment variables that every command heeds.
func Environment() []struct {
	Name    string
	Meaning action.Text
} {
	type row = struct {
		Name    string
		Meaning action.Text
	}
	return []row{
		{"KANAME_SERVER", action.Text{EN: "core to call, as --server", JA: "呼び出すコア (--server)"}},
		{"KANAME_SOCKET", action.Text{EN: "local socket to call when no server is given, as --socket", JA: "使うソケット (--socket)"}},
		{"KANAME_TOKEN", action.Text{EN: "API token", JA: "API トークン"}},
		{"KANAME_TOKEN_FILE", action.Text{EN: "file that holds the API token, as --token-file; wins over KANAME_TOKEN", JA: "API トークンのファイル (--token-file)。KANAME_TOKEN に優先する"}},
		{"KANAME_CA_FILE", action.Text{EN: "PEM file of the server's CA, as --ca-file; a token that holds a pin needs none", JA: "サーバーの CA (--ca-file)。ピン入りのトークンなら不要"}},
		{"KANAME_OUTPUT", action.Text{EN: "output format, as --output", JA: "結果の形式 (--output)"}},
		{"KANAME_PROGRESS", action.Text{EN: "how progress is told, as --progress", JA: "経過の表示 (--progress)"}},
		{"NO_COLOR", action.Text{EN: "no colours, when not empty", JA: "空でなければ色を使わない"}},
		{"CLICOLOR_FORCE", action.Text{EN: "colours even where there is no terminal, when neither empty nor 0", JA: "空でも 0 でもなければ、端末でなくても色を使う"}},
		{"LC_ALL, LC_MESSAGES, LANG", action.Text{EN: "the language of help: Japanese for ja…, otherwise English", JA: "ヘルプの言語: ja… なら日本語、それ以外は英語"}},
	}
}

// topics adds the pages of help that are no commands.
func (c *CLI) topics() {
	var env, exits strings.Builder
	fmt.Fprintln(&env, c.say("Flags win over the environment.", "フラグは環境変数に優先する。")+"\n")
	for _, e := range Environment() {
		fmt.Fprintf(&env, "  %-27s%s\n", e.Name, e.Meaning.In(c.lang))
	}
	for _, e := range ExitCodes() {
		fmt.Fprintf(&exits, "  %3d  %s\n", e.Code, e.Meaning.In(c.lang))
	}
	c.root.AddCommand(
		&cobra.Command{Use: "environment", Short: c.say("Environment variables that commands heed", "コマンドが参照する環境変数"), Long: strings.TrimRight(env.String(), "\n")},
		&cobra.Command{Use: "exit-codes", Short: c.say("Exit codes of every command", "すべてのコマンドの終了コード"), Long: strings.TrimRight(exits.String(), "\n")},
	)
}

// version is what kaname version prints.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // commit it was built from
	Modified bool   `json:"modified,omitempty"` // the work tree held changes
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// String is the version in one line.
func (v version) String() string {
	s := "kaname " + v.Version
	if v.Revision != "" {
		s += " (" + v.Revision[:min(12, len(v.Revision))] + onlyIf(v.Modified, ", modified") + ")"
	}
	return s + " " + v.Go + " " + v.Platform
}

func (c *CLI) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: c.say("Print the version of this kaname", "この kaname のバージョンを表示する"), Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version{Version: c.o.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = s.Value
					case "vcs.time":
						v.Built = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			return c.printValue(v)
		},
	}
}
