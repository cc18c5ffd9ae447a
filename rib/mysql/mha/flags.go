package mha

import (
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// always makes an option of which always the same is to be said.
func always(level Level, becomes string) flag {
	return flag{say: func(*utilities, string) (Level, string) { return level, becomes }}
}

func bare(f flag) flag                                               { f.bare = true; return f }
func short(b byte, f flag) flag                                      { f.short = b; return f }
func failover(f flag) flag                                           { f.admin = -1; return f }
func rpladmin(f flag) flag                                           { f.admin = 1; return f }
func with(say func(u *utilities, value string) (Level, string)) flag { return flag{say: say} }

// conn makes an option whose value has connections.
func conn(say func(u *utilities, value string) (Level, string)) flag {
	return flag{servers: true, say: say}
}

const (
	noConsole = "not needed: there is no console to keep open; kaname mysql status and kaname mysql topology say how things stand"
	noLog     = "not needed: kaname mysql history tells of each move with its reasons"
	noDaemon  = "not needed: the agents are services of their hosts, and the cores' lease says who decides"
	tls       = "servers[].ca of the hosts' configuration: with it replicas and other hosts connect by TLS only"
)

// flags are all options of mysqlfailover and mysqlrpladmin 1.6.
var flags = map[string]flag{
	// who and where
	"--master":                conn((*utilities).master),
	"--slaves":                conn((*utilities).slaves),
	"--candidates":            conn((*utilities).candidate),
	"--new-master":            rpladmin(conn((*utilities).newMaster)),
	"--discover-slaves-login": with((*utilities).discovered),
	"--rediscover":            failover(bare(always(Attention, "replicas that come later are not taken by themselves: kaname mysql add"))), // until 1.3

	// detection
	"--interval":           failover(short('i', always(Changed, "agents look every 500 ms; how long a silence counts as death is policy silence (1.5s)"))),
	"--ping":               always(Changed, "not counted: a silence of policy silence (1.5s) at a majority, or the end of the process as its agent sees it"),
	"--master-fail-retry":  failover(with((*utilities).retry)),
	"--connection-timeout": failover(always(Dropped, "not needed: each question to a server has a limit of its own")),
	"--exec-fail-check":    failover(always(Attention, "is not run: kaname does not fail over because a check of yours says so; such a check can call kaname mysql failover itself")),

	// the decision
	"--failover-mode":  failover(short('f', with((*utilities).mode))),
	"--pedantic":       failover(short('p', bare(always(OK, "always: a server with transactions of its own is never opened, and is named")))),
	"--max-position":   always(Changed, "GTID sets are compared, not positions"),
	"--seconds-behind": with((*utilities).behind),
	"--timeout":        with((*utilities).timeout),
	"--force":          bare(with((*utilities).force)),
	"--demote-master":  rpladmin(bare(always(OK, "always: the old primary becomes a replica"))),

	// scripts
	"--exec-before":        always(Attention, "not run as it is: endpoint hook runs its command before the primary moves (KANAME_COMMAND=withdraw), and tells it all by KANAME_*"),
	"--exec-after":         always(Attention, "not run as it is: endpoint hook runs its command after the primary has moved (KANAME_COMMAND=publish), and tells it all by KANAME_*"),
	"--exec-post-failover": failover(always(Attention, "not run as it is: endpoint hook runs its command after the primary has moved (KANAME_COMMAND=publish), and tells it all by KANAME_*")),
	"--script-threshold":   always(Dropped, "an exit status of a hook other than 0 counts as failed, and is told"),

	// accounts and TLS
	"--rpl-user": with((*utilities).replication),
	"--ssl-ca":   always(Changed, tls),
	"--ssl-cert": always(Attention, "kaname shows servers no certificate of its own: its account must not need one (REQUIRE X509)"),
	"--ssl-key":  always(Attention, "kaname shows servers no certificate of its own: its account must not need one (REQUIRE X509)"),
	"--ssl":      always(Changed, tls),

	// the program itself
	"--log":           always(Dropped, noLog),
	"--log-age":       always(Dropped, noLog),
	"--daemon":        failover(always(Dropped, noDaemon)),
	"--pidfile":       failover(always(Dropped, noDaemon)),
	"--no-keyboard":   failover(bare(always(Dropped, noConsole))),
	"--report-values": failover(always(Dropped, noConsole)),
	"--format":        rpladmin(short('f', always(Dropped, "kaname's tables are JSON with -o json"))),
	"--no-health":     rpladmin(bare(always(Dropped, noConsole))),
	"--quiet":         rpladmin(short('q', bare(always(Dropped, noConsole)))),
	"--verbose":       short('v', bare(always(Dropped, noLog))),
	"--help":          bare(always(Dropped, "kaname mysql --help")),
	"--license":       bare(always(Dropped, "see the file LICENSE")),
	"--version":       bare(always(Dropped, "kaname version")),
}

// servers reads connections and says what they become.
func servers(value, becomes string) ([]connection, Level, string) {
	all, err := connections(value)
	if err != nil {
		return nil, Attention, err.Error() + "; user[:password]@host[:port][:socket] was expected"
	}
	for _, c := range all {
		if c.path != "" {
			return all, Attention, "the login path " + c.path + " does not say here which server it means: give its name when you adopt; accounts are in the file that servers[].credentials names"
		}
	}
	return all, Changed, becomes + "; accounts are in the file that servers[].credentials names, on each host"
}

func (u *utilities) master(value string) (Level, string) {
	all, level, becomes := servers(value, "the primary at adoption")
	if len(all) > 1 {
		return Attention, "names several servers"
	}
	if len(all) == 1 {
		u.primary = &all[0]
	}
	return level, becomes
}

func (u *utilities) newMaster(value string) (Level, string) {
	all, level, becomes := servers(value, "kaname mysql switchover --to")
	if len(all) == 1 {
		u.newPrimary = &all[0]
	}
	return level, becomes
}

func (u *utilities) slaves(value string) (level Level, becomes string) {
	u.replicas, level, becomes = servers(value, "members")
	return level, becomes
}

func (u *utilities) candidate(value string) (level Level, becomes string) {
	u.candidates, level, becomes = servers(value, "role preferred: before the others that are as complete, in no order among them")
	return level, becomes
}

func (u *utilities) discovered(string) (Level, string) {
	u.discover = true
	return Attention, "replicas are named at adoption, and whoever else is connected is told of then; kaname mysql servers lists those whose hosts have an agent"
}

func (u *utilities) mode(value string) (Level, string) {
	switch value {
	case "auto":
		return OK, "automatic; the most complete one first, whoever is preferred"
	case "elect":
		u.elect = true
		return OK, "those that are no candidates get the role never"
	case "fail":
		u.result.Policy.Manual = true
		return OK, "policy manual: no failover without a person"
	}
	return Attention, "is none of auto, elect, fail; the utility refuses it"
}

// seconds reads a number of seconds into a part of the policy, if it is more than 0.
func seconds(value string, into *time.Duration) (given, ok bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
	if err != nil {
		return false, false
	}
	if n == 0 {
		return false, true
	}
	*into = time.Duration(n) * time.Second
	return true, true
}

const noNumber = "is no number of seconds; the utility refuses it"

func (u *utilities) retry(value string) (Level, string) {
	var more time.Duration
	given, ok := seconds(value, &more)
	if !ok {
		return Attention, noNumber
	}
	if !given {
		return OK, asByDefault
	}
	u.result.Policy.Silence = topology.DefaultPolicy().Silence + more
	return Changed, "policy silence is longer by it; the end of the process, as its agent sees it, counts at once all the same"
}

func (u *utilities) behind(value string) (Level, string) {
	given, ok := seconds(value, &u.result.Policy.MaxLag)
	if !ok {
		return Attention, noNumber
	}
	if !given {
		return OK, asByDefault
	}
	return Changed, "policy max-lag: for switchovers. In a failover what was received is applied first, however long ago it was written"
}

func (u *utilities) timeout(value string) (Level, string) {
	given, ok := seconds(value, &u.result.Policy.Drain)
	if !ok || !given {
		return Attention, noNumber
	}
	return Changed, "policy drain: how long a candidate may take to apply what it has received"
}

func (u *utilities) force(string) (Level, string) {
	if u.admin {
		return Attention, "kaname mysql failover --force opens a primary that may lack acknowledged writes; nothing else is skipped by it"
	}
	return Dropped, "not needed: a core that dies leaves nothing behind that would have to be overridden"
}

func (u *utilities) replication(string) (Level, string) {
	return Changed, "user= and password= in the file that servers[].replication names, on each host"
}
