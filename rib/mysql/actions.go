package mysql

import (
	"slices"

	"kaname.dev/kaname/action"
)

// actions lists what people can do.
func (r *service) actions() []action.Action {
	return slices.Concat(r.looking(), r.moving(), r.keeping())
}

// looking lists the actions that only look.
func (r *service) looking() []action.Action {
	return []action.Action{
		action.New("mysql status", "Show the topologies, and what is the matter with them", action.Reads, r.status,
			action.InJapanese("トポロジーの一覧と状態を表示する"),
			action.WithColumns("topology", "state", "primary", "epoch", "members", "routers", "note"),
			action.WithExample("kaname mysql status", "all of them"),
			action.WithExample("kaname mysql status shop", "one, with its reasons")),
		action.New("mysql topology", "Show a topology as its servers see it", action.Reads, r.topology,
			action.InJapanese("トポロジーをサーバー自身の報告から木として表示する"),
			action.WithLong("The primary at the root, replicas below those that they replicate from; with GTID position, lag, semi-synchronous replication, and what does not fit."),
			action.WithColumns("tree", "role", "state", "lag", "semi_sync", "position", "note"),
			action.WithExample("kaname mysql topology shop", "as a tree"),
			action.WithExample("kaname mysql topology shop -o json", "for programs")),
		action.New("mysql servers", "Show the database servers of the plane's hosts", action.Reads, r.servers,
			action.InJapanese("プレーン内のデータベースサーバーを表示する"),
			action.WithColumns("server", "host", "address", "topology", "note"),
			action.WithExample("kaname mysql servers", "those that can be adopted, and those that are")),
		action.New("mysql history", "Tell what was done to a topology, when and why", action.Reads, r.history,
			action.InJapanese("トポロジーに対して行われたことと理由を表示する"),
			action.WithColumns("time", "topology", "what", "text"),
			action.WithExample("kaname mysql history shop", "verdicts, moves, what people asked for"),
			action.WithExample("kaname mysql history shop --moves", "only moves, with each step and its time")),
	}
}

// moving lists the actions that move a primary.
func (r *service) moving() []action.Action {
	return []action.Action{
		action.New("mysql switchover", "Move the primary to another server, with a short pause of writes", action.Changes, r.switchover,
			action.InJapanese("プライマリを計画的に切り替える"),
			action.WithPlan(r.planSwitchover),
			action.WithLong("Clients of the built-in router wait meanwhile. Until the new primary is opened, anything that goes wrong leads back to the old one."),
			action.WithExample("kaname mysql switchover shop --to db2", "to this one"),
			action.WithExample("kaname mysql switchover shop --dry-run", "to whom it would go, and what stands against it")),
		action.New("mysql failover", "Replace the primary now, though kaname has not found it dead", action.Destroys, r.failover,
			action.InJapanese("プライマリを強制的に交代させる"),
			action.WithPlan(r.planFailover),
			action.WithLong("The old primary is closed, or killed. --force opens the best candidate even when it cannot be proved to have every acknowledged write, also in the middle of a failover that waits for that proof."),
			action.WithExample("kaname mysql failover shop --dry-run", "who would become primary, and what may be missing"),
			action.WithExample("kaname mysql failover shop --force", "the wait is to end")),
		action.New("mysql drill", "Have a real failover on purpose, and measure it", action.Destroys, r.drill,
			action.InJapanese("実際のフェイルオーバー訓練を行い、停止時間を測る"),
			action.WithPlan(r.planFailover),
			action.WithLong("The primary is fenced as if it were dead; writes fail until the new one is open. The old one comes back as a replica if it can."),
			action.WithExample("kaname mysql drill shop", "")),
	}
}

// keeping lists the actions that change what kaname keeps of topologies.
func (r *service) keeping() []action.Action {
	return []action.Action{
		action.New("mysql adopt", "Take charge of a running topology", action.Changes, r.adopt,
			action.InJapanese("稼働中のトポロジーを管理下に置く"),
			action.WithPlan(r.planAdopt),
			action.WithLong("The servers are looked at first: GTID, binary logs, who replicates from whom, transactions of their own. --endpoint names further ways by which clients are led, as a kind and settings: \"haproxy socket=/run/haproxy.sock backend=shop\"; the built-in router needs none."),
			action.WithExample("kaname mysql adopt shop --primary db1 --replicas db2,db3", "with lossless semi-synchronous replication"),
			action.WithExample("kaname mysql adopt shop --primary db1 --replicas db2,db3 --durability async --dry-run", "what would be changed")),
		action.New("mysql add", "Add a replica to a topology", action.Changes, r.add,
			action.InJapanese("トポロジーにレプリカを加える"),
			action.WithExample("kaname mysql add shop db4 --role observer", "it replicates from the primary already")),
		action.New("mysql remove", "Take a replica out of a topology", action.Changes, r.remove,
			action.InJapanese("トポロジーからレプリカを外す"),
			action.WithExample("kaname mysql remove shop db4", "the server itself stays as it is")),
		action.New("mysql role", "Say whether a server may become primary", action.Changes, r.role,
			action.InJapanese("サーバーがプライマリになれるかどうかを設定する"),
			action.WithExample("kaname mysql role shop db3 never", "it acknowledges, but is never promoted")),
		action.New("mysql policy", "Change how a topology is treated", action.Changes, r.policy,
			action.InJapanese("トポロジーの扱い方を変更する"),
			action.WithExample("kaname mysql policy shop --manual yes", "no failover without a person"),
			action.WithExample("kaname mysql policy shop --unprovable promote-after --promote-after 60s", "rather open than wait for a proof")),
		action.New("mysql pause", "Keep kaname from acting on a topology", action.Changes, r.pause,
			action.InJapanese("トポロジーへの操作を一時停止する"),
			action.WithExample("kaname mysql pause shop --for 2h --why 'kernel upgrade'", "")),
		action.New("mysql resume", "Let kaname act on a topology again", action.Changes, r.resume,
			action.InJapanese("一時停止を解除する"),
			action.WithExample("kaname mysql resume shop", "")),
		action.New("mysql acknowledge", "Confirm that the last failover was looked into", action.Changes, r.acknowledge,
			action.InJapanese("直前のフェイルオーバーを確認済みにする"),
			action.WithLong("Until then, or until the cooldown has passed, there is no further failover by itself: a second one soon after the first has a cause that a person should know."),
			action.WithExample("kaname mysql acknowledge shop", "")),
		action.New("mysql reclone", "Replace the data of a replica by a copy of another server", action.Destroys, r.reclone,
			action.InJapanese("レプリカのデータを他のサーバーの複製で置き換える"),
			action.WithLong("For a former primary with transactions of its own: they are saved aside as SQL when it is found; see the directory \"aside\" in the rib's state on its host."),
			action.WithExample("kaname mysql reclone shop db1", "")),
		action.New("mysql forget", "Let a topology go; its servers stay as they are", action.Changes, r.forget,
			action.InJapanese("トポロジーを管理対象から外す"),
			action.WithExample("kaname mysql forget shop", "")),
		action.New("mysql import", "Read the configuration of MHA or mysqlfailover, and say what it becomes", action.Reads, r.importOthers,
			action.InJapanese("MHA・mysqlfailover の設定を読み、対応を示す"),
			action.WithColumns("where", "option", "value", "level", "becomes"),
			action.WithLong("Ends with the adopt command that follows from it. Hosts are not asked, and nothing is changed."),
			action.WithExample("kaname mysql import app1.cnf --global masterha_default.cnf", "MHA's files"),
			action.WithExample("kaname mysql import --options '--master=root@db1 --slaves=root@db2 --failover-mode=auto'", "mysqlfailover's command line")),
	}
}
