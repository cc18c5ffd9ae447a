package release

import "kaname.dev/kaname/action"

// actions lists what people can do.
func (r *service) actions() []action.Action {
	list := []action.Action{
		action.New("release push", "Store an archive as a release", action.Changes, r.push,
			action.InJapanese("アーカイブをリリースとして登録する"),
			action.WithLong("The archive is a tarball, plain or compressed with gzip, zstd, bzip2 or xz. It is read once, as a stream; nothing travels to hosts yet. App and version are taken from the file's name (shop-1.4.2.tar.gz) unless they are given. A version never changes its contents: a second push of it is refused."),
			action.WithPlan(r.planPush),
			action.WithExample("kaname release push shop-1.4.2.tar.gz", "app and version from the name"),
			action.WithExample("kaname release push build.tar.zst --app shop --version 1.4.2 --meta commit=1a2b3c", "named, with a note"),
			action.WithExample("kaname release push s3://builds/shop-1.4.2.tar.gz", "from a bucket")),
		action.New("release import", "Store an archive from S3 or HTTP as a release", action.Changes, r.load,
			action.InJapanese("S3 や HTTP のアーカイブをリリースとして登録する"),
			action.WithLong("The core reads the archive, in parts and resuming where a connection is cut. For S3 it finds keys as other clients do: environment, shared credentials file, instance role; AWS_ENDPOINT_URL names another service than Amazon's."),
			action.WithPlan(r.planImport),
			action.WithExample("kaname release import s3://builds/shop-1.4.2.tar.gz", "app and version from the name")),
		action.New("release deploy", "Make a release live on hosts, in waves", action.Changes, r.deploy,
			action.InJapanese("リリースを段階的にホストへ公開する"),
			action.WithLong(deployLong),
			action.WithPlan(r.planDeploy),
			action.WithExample("kaname release deploy shop 1.4.2 --to role=web --health-url http://127.0.0.1:8080/healthz", "one host, then a tenth, then all"),
			action.WithExample("kaname release deploy shop 1.4.3", "with the settings of the last deploy"),
			action.WithExample("kaname release deploy --archive shop-1.4.3.tar.gz", "push and deploy"),
			action.WithExample("kaname release deploy shop 1.4.3 --post 'systemctl reload shop' --waves 100% --max-failures 2", "all at once, two may fail")),
		action.New("release rollback", "Go back to an earlier release, on all hosts at once", action.Changes, r.rollback,
			action.InJapanese("全ホストを以前のリリースへ戻す"),
			action.WithLong("Each host switches current back to a tree that it still has; nothing travels. A host that lacks the release, or is off, follows by itself. Hooks pre and post run with KANAME_REASON=rollback, and their failure does not stop it. A second rollback goes one release further back."),
			action.WithPlan(r.planRollback),
			action.WithExample("kaname release rollback shop", "to the release before"),
			action.WithExample("kaname release rollback shop --to-version 1.4.0", "to a certain one")),
		action.New("release abort", "Stop a deploy and take back what it made live", action.Changes, r.stop,
			action.InJapanese("進行中のデプロイを中止して元に戻す"),
			action.WithPlan(r.planAbort),
			action.WithExample("kaname release abort shop --why 'errors in the log'", "as if a wave had failed")),
		action.New("release prune", "Remove old releases of an app", action.Destroys, r.prune,
			action.InJapanese("古いリリースを削除する"),
			action.WithLong("On each host, and in the store of the core. The live release always stays, and so does one that is being deployed; the one before it goes last. Successful deploys prune by themselves."),
			action.WithPlan(r.planPrune), action.WithColumns("host", "versions", "bytes", "error"),
			action.WithExample("kaname release prune shop --keep 3", "the live one and two others")),
		action.New("release delete", "Delete one release everywhere", action.Destroys, r.remove,
			action.InJapanese("リリースを完全に削除する"),
			action.WithPlan(r.planRemove), action.WithColumns("host", "versions", "bytes", "error"),
			action.WithExample("kaname release delete shop 1.4.2", "its trees, its packs, its record")),
		action.New("release sign", "Add a signature that was made elsewhere to a release", action.Changes, r.addSignature,
			action.InJapanese("別途作成した署名をリリースに付ける"),
			action.WithLong("The secret key stays with its owner: print the manifest with \"kaname release manifest\", sign those bytes with minisign, and hand in the signature."),
			action.WithExample("kaname release sign shop 1.4.2 --signature manifest.minisig", "made with: minisign -S -m manifest")),
	}
	return append(list, r.reading()...)
}

// reading lists the actions that only look.
func (r *service) reading() []action.Action {
	return []action.Action{
		action.New("release status", "Show which release each host has fetched, unpacked and made live", action.Reads, r.status,
			action.InJapanese("各ホストの取得・展開・公開の状況を表示する"),
			action.WithColumns("app", "host", "wanted", "live", "fetched", "staged", "state", "note"),
			action.WithExample("kaname release status shop", "one live query of all hosts")),
		action.New("release list", "List releases", action.Reads, r.list,
			action.InJapanese("リリースの一覧を表示する"),
			action.WithColumns("app", "version", "wanted", "files", "size", "wire", "created", "by", "signed"),
			action.WithExample("kaname release list shop", "the newest first")),
		action.New("release history", "List deploys", action.Reads, r.history,
			action.InJapanese("デプロイの履歴を表示する"),
			action.WithColumns("app", "version", "from", "state", "hosts", "live", "failed", "rolled_back", "began", "took", "by", "bytes_origin", "deploy"),
			action.WithExample("kaname release history shop", "the newest first")),
		action.New("release show", "Show one deploy and what each host said", action.Reads, r.show,
			action.InJapanese("デプロイの詳細を表示する"),
			action.WithExample("kaname release show shop", "the last one")),
		action.New("release watch", "Follow the deploy of an app as it happens", action.Reads, r.watch,
			action.InJapanese("デプロイの進行を追う"),
			action.WithExample("kaname release watch shop", "until it ends")),
		action.New("release verify", "Compare the trees on hosts with their manifest", action.Reads, r.verify,
			action.InJapanese("ホスト上のファイルをマニフェストと照合する"),
			action.WithColumns("host", "version", "files", "drifts", "error"),
			action.WithLong("Every file is read on its host: contents, modes, owners, times, links, and what is there that should not be. Shared paths are left out."),
			action.WithExample("kaname release verify shop", "what is live, on the hosts of the app")),
		action.New("release manifest", "Print the manifest of a release, the bytes that are signed", action.Reads, r.manifest,
			action.InJapanese("署名対象のマニフェストを表示する"),
			action.WithExample("kaname release manifest shop 1.4.2 -o json | jq -rj .manifest > manifest", "for minisign")),
	}
}

const deployLong = `First every host stages the release: it fetches what it lacks, from other hosts while they still receive, verifies and unpacks it. Nothing changes for anybody until all have. Then the hosts go live wave by wave: current is switched by a rename, hooks run, and after each wave the health check must succeed before the next begins.

When more hosts have failed than --max-failures (0 unless given), the deploy is taken back on every host that it made live, also in earlier waves, so that the fleet is on one version again; --rollback wave or none narrows that. A host that fails while the deploy goes on is taken back alone.

Hosts that are off or drained do not count; they catch up when they return. The deploy belongs to the core and not to this command: when the connection is lost it goes on; "kaname release watch" follows it, "kaname release abort" stops it.

What is not given is as in the app's last successful deploy, and the plan shows it; "none" takes a remembered command or path away, --fresh forgets all.

Hooks are command lines for /bin/sh -c, run in the release's directory, each with KANAME_APP, KANAME_RELEASE, KANAME_RELEASE_PATH, KANAME_PREVIOUS, KANAME_PREVIOUS_PATH, KANAME_CURRENT, KANAME_SHARED, KANAME_HOST, KANAME_WAVE, KANAME_WAVES, KANAME_DEPLOY, KANAME_HOOK, KANAME_REASON (deploy or rollback). They may run more than once: after a crash, and when something is taken back.`
