package cli

import "strings"

// usageTemplate is what help and usage errors print, in the language of the user.
// Its functions are cobra's.
func usageTemplate(lang string) string {
	words := usageWords
	if lang == "ja" {
		words = usageWordsJA
	}
	return strings.NewReplacer(words...).Replace(usageText)
}

// usageWords stand for the words in braces of usageText.
var usageWords = []string{
	"{USAGE}", "Usage:", "{EXAMPLES}", "Examples:", "{COMMANDS}", "Commands:", "{FLAGS}", "Flags:",
	"{GLOBAL}", "Flags of every command:", "{TOPICS}", "More help:", "{COMMAND}", "COMMAND", "{FLAG}", "[FLAGS]",
	"{MORE}", "About one command: {{.CommandPath}} COMMAND --help",
}

var usageWordsJA = []string{
	"{USAGE}", "使い方:", "{EXAMPLES}", "例:", "{COMMANDS}", "コマンド:", "{FLAGS}", "フラグ:",
	"{GLOBAL}", "共通フラグ:", "{TOPICS}", "そのほかのヘルプ:", "{COMMAND}", "コマンド", "{FLAG}", "[フラグ]",
	"{MORE}", "各コマンドの説明: {{.CommandPath}} コマンド --help",
}

const usageText = `{USAGE}
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} {COMMAND} {FLAG}{{end}}
{{- if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}
{{- if .HasExample}}

{EXAMPLES}
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

{COMMANDS}{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

{FLAGS}
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

{GLOBAL}
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasHelpSubCommands}}

{TOPICS}{{range .Commands}}{{if .IsAdditionalHelpTopicCommand}}
  kaname help {{rpad .Name 12}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableSubCommands}}

{MORE}{{end}}
`
