package access

import (
	"context"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// Actions are what people do about access. They can be listed before Attach.
func (a *Access) Actions() []action.Action {
	return append(append(a.userActions(), a.tokenActions()...), a.auditActions()...)
}

type userAddIn struct {
	Name     string        `name:"name" arg:"" required:"" help:"name to sign in with" ja:"サインインに使う名前"`
	Role     string        `name:"role" enum:"viewer,operator,admin" default:"viewer" help:"what the user may do" ja:"ユーザーの役割"`
	Password action.Secret `name:"password" required:"" help:"password to sign in with" ja:"パスワード"`
}

type userIn struct {
	Name string `name:"name" arg:"" required:"" help:"name of the user" ja:"ユーザー名" complete:"users"`
}

type userPasswordIn struct {
	Name     string        `name:"name" arg:"" required:"" help:"name of the user" ja:"ユーザー名" complete:"users"`
	Password action.Secret `name:"password" required:"" help:"new password" ja:"新しいパスワード"`
}

type userRoleIn struct {
	Name string `name:"name" arg:"" required:"" help:"name of the user" ja:"ユーザー名" complete:"users"`
	Role string `name:"role" arg:"" required:"" enum:"viewer,operator,admin" help:"what the user may do" ja:"ユーザーの役割"`
}

const rolesText = "A viewer may look; an operator may also change what can be changed back; an admin may also destroy, and say who may do what."

func (a *Access) userActions() []action.Action {
	columns := action.WithColumns("name", "role", "created", "changed")
	return []action.Action{
		action.New("user add", "Add a user who can sign in at the console", action.Destroys,
			func(ctx context.Context, _ *action.Run, in userAddIn) (Person, error) {
				return a.AddUser(ctx, in.Name, in.Password.Reveal(), Role(in.Role))
			}, columns, action.Unasked(), action.WithLong(rolesText), action.InJapanese("コンソールにサインインできるユーザーを追加する"),
			action.WithExample("kaname user add alice --role operator", "asks for the password")),
		action.New("user list", "List the users", action.Reads,
			func(ctx context.Context, _ *action.Run, _ struct{}) ([]Person, error) { return a.Users(ctx) },
			columns, action.InJapanese("ユーザーを一覧する"), action.WithExample("kaname user list -o json", "")),
		action.New("user remove", "Remove a user and end their sessions", action.Destroys,
			func(ctx context.Context, _ *action.Run, in userIn) (Person, error) { return a.RemoveUser(ctx, in.Name) },
			columns, action.InJapanese("ユーザーを削除し、セッションを終わらせる"), action.WithExample("kaname user remove alice", "")),
		action.New("user password", "Set a user's password and end their sessions", action.Destroys,
			func(ctx context.Context, _ *action.Run, in userPasswordIn) (Person, error) {
				return a.SetPassword(ctx, in.Name, in.Password.Reveal())
			}, columns, action.Unasked(), action.InJapanese("ユーザーのパスワードを設定し、セッションを終わらせる"),
			action.WithExample("kaname user password alice --password @/root/alice.txt", "reads it from a file")),
		action.New("user role", "Give a user another role and end their sessions", action.Destroys,
			func(ctx context.Context, _ *action.Run, in userRoleIn) (Person, error) {
				return a.SetRole(ctx, in.Name, Role(in.Role))
			}, columns, action.WithLong(rolesText), action.InJapanese("ユーザーの役割を変え、セッションを終わらせる"),
			action.WithExample("kaname user role alice admin", "")),
	}
}

type tokenCreateIn struct {
	Role string        `name:"role" required:"" enum:"agent,viewer,operator,admin" help:"agent: a host joins with it; otherwise a program calls the API with it" ja:"agent はホストの参加用、それ以外は API 用"`
	TTL  time.Duration `name:"ttl" help:"how long it can be used; 1h for agent, 2160h otherwise, when not given" ja:"有効期間。省略時は agent が 1h、ほかは 2160h"`
	Host string        `name:"host" help:"name of the only host that may join with it" ja:"参加を許すホスト名"`
	Note string        `name:"note" help:"what it is for; shown in the audit trail" ja:"用途。監査記録に表示される"`
}

type tokenIn struct {
	ID string `name:"id" arg:"" required:"" help:"the part of the token between the first dots" ja:"トークンの ID" complete:"tokens"`
}

// NewToken is the result of token create. The text is shown this once.
type NewToken struct {
	Token   string    `json:"token"`
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
}

// String is the token alone, so that a script can take it as it is.
func (t NewToken) String() string { return t.Token }

// TTLs of tokens when none is given.
const (
	joinTTL = time.Hour
	apiTTL  = 90 * 24 * time.Hour
)

func (a *Access) tokenActions() []action.Action {
	columns := action.WithColumns("id", "role", "note", "by", "created", "expires")
	return []action.Action{
		action.New("token create", "Create a token with which a host joins or a program calls the API", action.Destroys, a.createToken, action.Unasked(),
			action.WithLong("With --role agent the token is good for one host to join the plane. With another role it is the password of a program, "+
				"or of a person at a command line elsewhere; it goes into KANAME_TOKEN or --token-file. The token is printed once and kept as a hash."),
			action.InJapanese("ホストの参加用、または API 用のトークンを作る"),
			action.WithExample("kaname token create --role agent --ttl 1h", "then, on the new host: kaname join TOKEN"),
			action.WithExample("kaname token create --role operator --note ci > /etc/kaname/ci.token", "")),
		action.New("token list", "List the API tokens", action.Reads,
			func(ctx context.Context, _ *action.Run, _ struct{}) ([]Token, error) { return a.Tokens(ctx) },
			columns, action.InJapanese("API トークンを一覧する"), action.WithExample("kaname token list", "")),
		action.New("token revoke", "Revoke an API token", action.Destroys,
			func(ctx context.Context, _ *action.Run, in tokenIn) (Token, error) { return a.RevokeToken(ctx, in.ID) },
			columns, action.InJapanese("API トークンを無効にする"), action.WithExample("kaname token revoke k3v7q2aa", "")),
	}
}

func (a *Access) createToken(ctx context.Context, r *action.Run, in tokenCreateIn) (NewToken, error) {
	if in.Role != "agent" {
		if in.Host != "" {
			return NewToken{}, fault.Invalid("token create: host goes with role agent only")
		}
		ttl := in.TTL
		if ttl == 0 {
			ttl = apiTTL
		}
		text, t, err := a.CreateToken(ctx, Role(in.Role), ttl, in.Note, r.Actor.Name)
		if err != nil {
			return NewToken{}, err
		}
		r.Note("this is the only time that the token is shown; put it into KANAME_TOKEN or a file for --token-file")
		return NewToken{Token: text, Role: in.Role, Expires: t.Expires}, nil
	}
	s, err := a.store()
	if err != nil {
		return NewToken{}, err
	}
	if s.JoinToken == nil {
		return NewToken{}, fault.Unsupported("hosts cannot join here: this core holds no CA").Try("ask the core that does")
	}
	ttl := in.TTL
	if ttl == 0 {
		ttl = joinTTL
	}
	expires := time.Now().UTC().Add(ttl)
	text, err := s.JoinToken(ctx, ttl, in.Host, r.Actor.Name)
	if err != nil {
		return NewToken{}, err
	}
	r.Note("run on the new host: kaname join TOKEN") // without the token: events are for every viewer
	return NewToken{Token: text, Role: in.Role, Expires: expires}, nil
}

type auditListIn struct {
	Who    string `name:"who" help:"only what this user or token did" ja:"この利用者の記録だけ" complete:"users"`
	Action string `name:"action" help:"only this action, or all that begin with these words" ja:"この操作の記録だけ"`
	Run    string `name:"run" help:"only the run with this id; its end is enough" ja:"この実行 ID の記録だけ"`
	Since  string `name:"since" help:"only what is not older: 2h, 7d, 2006-01-02 or a time in RFC 3339" ja:"これ以降の記録だけ: 2h、7d、2006-01-02、RFC 3339"`
	Last   int    `name:"last" default:"200" help:"only the newest so many; 0 shows all" ja:"新しいものからこの件数だけ。0 はすべて"`
}

func (a *Access) auditActions() []action.Action {
	return []action.Action{
		action.New("audit list", "Show who did what, and what was refused", action.Reads, a.listAudit,
			action.WithLong("Each call that changes something is there twice, when it began and when it ended; each refusal once. Nothing can be removed from the trail."),
			action.WithColumns("time", "who", "door", "action", "outcome", "duration", "run", "fault"),
			action.InJapanese("誰が何をし、何が拒否されたかを表示する"),
			action.WithExample("kaname audit list --who alice --since 7d", ""),
			action.WithExample("kaname audit list --action 'release deploy' -o json", "")),
		action.New("audit verify", "Check that no record of the audit trail is missing or was altered", action.Reads,
			func(ctx context.Context, _ *action.Run, _ struct{}) (Verdict, error) {
				v, err := a.Verify(ctx)
				if err == nil && len(v.Faults) > 0 {
					err = fault.Corrupt("audit trail: " + v.Faults[0]).Try("compare the head with one written down elsewhere: kaname audit verify -o json")
				}
				return v, err
			},
			action.WithLong("Records carry the hash of the one before. Write the head down outside of the plane now and then: whoever rewrites the whole trail is found only by it."),
			action.InJapanese("監査記録に欠落や改変がないことを確かめる"), action.WithExample("kaname audit verify", "")),
		action.New("run list", "List the runs that changed something, newest first", action.Reads, a.listRuns,
			action.WithColumns("id", "action", "who", "state", "started", "duration"),
			action.InJapanese("変更を行った実行を新しい順に一覧する"), action.WithExample("kaname run list --since 2h", "")),
		action.New("run show", "Show one run: who, what, and how it ended", action.Reads, a.showRun,
			action.InJapanese("ひとつの実行を表示する"), action.WithExample("kaname run show 7K2QXA", "the end of the id is enough")),
	}
}

func (a *Access) listAudit(ctx context.Context, _ *action.Run, in auditListIn) ([]Record, error) {
	since, err := parseSince(in.Since, time.Now())
	if err != nil {
		return nil, err
	}
	return a.Records(ctx, Filter{Who: in.Who, Action: in.Action, Run: in.Run, Since: since, Last: max(in.Last, 0)})
}

// Groups are the sentences of the first words of these actions.
func Groups() map[string]action.Text {
	return map[string]action.Text{
		"user":  {EN: "People who can sign in, and their roles", JA: "サインインできる人とその役割"},
		"token": {EN: "Tokens with which hosts join and programs call", JA: "ホストの参加用と API 用のトークン"},
		"audit": {EN: "The record of who did what, and of what was refused", JA: "誰が何をし、何が拒否されたかの記録"},
		"run":   {EN: "Calls of actions that changed something", JA: "変更を行った操作の実行"},
	}
}
