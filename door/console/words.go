package console

// ja holds the console's own words in Japanese; what actions say stands beside the
// actions. A test fails on a word that a page uses and this table lacks.
var ja = map[string]string{ //nolint:gosec // words for people, no secrets
	"skip to the content":           "本文へ",
	"ribs":                          "リブ",
	"overview":                      "概要",
	"runs":                          "実行履歴",
	"sign out":                      "サインアウト",
	"Sign in":                       "サインイン",
	"Name":                          "名前",
	"Password":                      "パスワード",
	"Overview":                      "概要",
	"Hosts":                         "ホスト",
	"Latest runs":                   "最近の実行",
	"What can be done":              "できること",
	"Runs":                          "実行履歴",
	"The audit trail":               "監査記録",
	"Actions":                       "アクション",
	"plan":                          "計画",
	"Plan":                          "計画",
	"There is nothing to do.":       "することはありません。",
	"Show":                          "表示",
	"Run":                           "実行",
	"Run this plan":                 "この計画を実行",
	"Show the plan":                 "計画を表示",
	"Result":                        "結果",
	"The same on the command line:": "コマンドラインでは:",
	"host":                          "ホスト",
	"step":                          "段階",
	"state":                         "状態",
	"progress":                      "進捗",
	"note":                          "備考",
	"Story":                         "経過",
	"Cancel this run":               "この実行を中止",
	"run":                           "実行",
	"action":                        "アクション",
	"who":                           "実行者",
	"started":                       "開始",
	"No runs yet.":                  "まだ実行はありません。",
	"nothing":                       "なし",
	"An administrator adds people on a core with: ": "管理者がコアで次のように追加します: ",
}

// word returns the console's word in the language.
func word(lang, en string) string {
	if lang == "ja" {
		if w, ok := ja[en]; ok {
			return w
		}
	}
	return en
}
