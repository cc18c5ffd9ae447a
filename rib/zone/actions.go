package zone

import (
	"slices"

	"kaname.dev/kaname/action"
)

// actions lists what people can do.
func (r *service) actions() []action.Action {
	return slices.Concat(r.looking(), r.changing(), r.graduating())
}

// looking lists the actions that only look.
func (r *service) looking() []action.Action {
	return []action.Action{
		action.New("zone status", "Show serial, lag and state of zones on each name server", action.Reads, r.status,
			action.InJapanese("ゾーンごと・サーバーごとのシリアル、遅れ、状態を表示する"),
			action.WithLong("Without a zone, and with more than 50 zones, only those are shown that are not well somewhere; --all shows all. The lag is the time since the primary has had a newer serial than the server."),
			action.WithColumns("zone", "server", "state", "serial", "primary", "lag", "note"),
			action.WithExample("kaname zone status", "what is not well"),
			action.WithExample("kaname zone status example.jp", "one zone on every server")),
		action.New("zone list", "List zones, with their source and how many servers serve them", action.Reads, r.list,
			action.InJapanese("ゾーンの一覧を表示する"),
			action.WithColumns("zone", "view", "source", "group", "state", "served", "until", "note"),
			action.WithExample("kaname zone list --under jp", "those at or below jp"),
			action.WithExample("kaname zone list --state quarantined", "those that can be restored")),
		action.New("zone show", "Show all that is known of one zone", action.Reads, r.show,
			action.InJapanese("一つのゾーンについて分かることをすべて表示する"),
			action.WithExample("kaname zone show example.jp", "who owns it, who serves it, what is wrong")),
		action.New("zone sources", "Show where zones come from, and how far those are to be believed now", action.Reads, r.listSources,
			action.InJapanese("ゾーンの出所とその状態を表示する"),
			action.WithColumns("source", "kind", "host", "state", "zones", "quarantined", "serial", "heard", "note"),
			action.WithExample("kaname zone sources", "all of them")),
		action.New("zone servers", "Show the name servers and how many zones they serve", action.Reads, r.listServers,
			action.InJapanese("DNS サーバーと、それぞれのゾーン数を表示する"),
			action.WithColumns("server", "kind", "version", "state", "serving", "other", "wanted", "foreign", "note"),
			action.WithExample("kaname zone servers", "all of them")),
		action.New("zone diff", "Show what would be done to name servers", action.Reads, r.diff,
			action.InJapanese("DNS サーバーに対して行われる変更を表示する"),
			action.WithColumns("server", "op", "zone", "why"),
			action.WithExample("kaname zone diff", "all servers"),
			action.WithExample("kaname zone diff ns1/bind", "one of them")),
		action.New("zone contents", "Print the contents of a removed zone, as they are kept in quarantine", action.Reads, r.contents,
			action.InJapanese("隔離中のゾーンの内容を表示する"),
			action.WithExample("kaname zone contents example.jp -o json | jq -r .text > example.jp.zone", "to load it on the primary again")),
	}
}

// changing lists the actions that change something.
func (r *service) changing() []action.Action {
	return []action.Action{
		action.New("zone add", "Make zones known to the name servers without any other source", action.Changes, r.add,
			action.InJapanese("ゾーンを直接追加する"),
			action.WithLong("For zones whose primary kaname cannot watch. The zones are served as secondary zones, transferred from the primaries given or from those of the group."),
			action.WithExample("kaname zone add example.jp --primary 192.0.2.1:53", "transferred from there"),
			action.WithExample("kaname zone add a.example b.example --group internal", "two zones of a group")),
		action.New("zone remove", "Take zones away that were added with \"zone add\", or let a held one go", action.Changes, r.remove,
			action.InJapanese("直接追加したゾーンを取り除く"),
			action.WithPlan(r.planRemove),
			action.WithLong("The servers stop to answer for them; their contents rest in quarantine. With --force a zone goes also when its contents cannot be kept. With zone.resolver set, the plan warns when the parent still points here."),
			action.WithExample("kaname zone remove example.jp", "to be restored with: kaname zone restore")),
		action.New("zone restore", "Serve a removed zone again, from the contents in quarantine", action.Changes, r.restore,
			action.InJapanese("隔離中のゾーンを復元する"),
			action.WithLong("Until its source has the zone again, or it is removed. The contents are those that each server's host kept when the zone was removed."),
			action.WithExample("kaname zone restore example.jp", "within the time of zone.quarantine")),
		action.New("zone pin", "Keep a zone as it is on all servers, whatever its source says", action.Changes, r.pin,
			action.InJapanese("ゾーンを固定する"),
			action.WithExample("kaname zone pin example.jp --why 'registrar is moving it'", "until: kaname zone unpin example.jp")),
		action.New("zone unpin", "Let a pinned zone follow its source again", action.Changes, r.unpin,
			action.InJapanese("ゾーンの固定を解く"),
			action.WithExample("kaname zone unpin example.jp", "")),
		action.New("zone adopt", "Take over a zone that a name server has and kaname did not make", action.Changes, r.adopt,
			action.InJapanese("手作業で作られたゾーンを kaname の管理下に置く"),
			action.WithPlan(r.planAdopt),
			action.WithExample("kaname zone adopt example.jp", "on every server where it is in conflict")),
		action.New("zone accept", "Let a held change through, named by its hash", action.Changes, r.accept,
			action.InJapanese("保留された変更を承認する"),
			action.WithPlan(r.planAccept),
			action.WithLong("A source or a server that would lose too many zones at once (zone.guard) is held: nothing is removed until somebody has looked. \"zone sources\" and \"zone servers\" show the hash, which stands for exactly this change."),
			action.WithExample("kaname zone accept 3f9a1c2b", "what \"zone sources\" showed")),
		action.New("zone apply", "Bring name servers up to what is desired, now", action.Changes, r.apply,
			action.InJapanese("望ましい状態を今すぐ DNS サーバーへ反映する"),
			action.WithPlan(r.planApply),
			action.WithColumns("server", "op", "zone", "why"),
			action.WithLong("Servers follow by themselves; this is for those with \"manual: true\", and for those who do not want to wait for the next look."),
			action.WithExample("kaname zone apply ns1/bind", "one server")),
		action.New("zone admit", "Let a host report a source", action.Destroys, r.admit,
			action.InJapanese("ホストがソースとして報告することを許可する"),
			action.Unasked(),
			action.WithLong("Who says which zones exist commands every name server; a host that is no core must be admitted first."),
			action.WithExample("kaname zone admit main --host dns-hidden1", "as configured there")),
		action.New("zone setup", "Print the least configuration that a name server needs, or apply it", action.Destroys, r.setup,
			action.InJapanese("DNS サーバーに必要な設定を表示または適用する"),
			action.WithPlan(r.planSetup),
			action.Unasked(), // --apply is the word for it
			action.WithLong("The server is one of the zone.servers of a host. Without --apply nothing is written, and what would be is printed."),
			action.WithExample("kaname zone setup ns1/nsd", "to read"),
			action.WithExample("kaname zone setup ns1/nsd --apply", "to write the files and run the commands on that host")),
	}
}
