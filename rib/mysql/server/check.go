package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
)

// Check returns what about the server does not fit a topology, the errors first. It changes
// nothing.
func (s *Server) Check(ctx context.Context) ([]order.Finding, error) {
	var out []order.Finding
	err := s.with(ctx, "check", func(x *session) error {
		vars, err := x.variables(ctx)
		if err != nil {
			return err
		}
		out, err = check(ctx, x, vars)
		return err
	})
	return out, err
}

// The levels of findings.
const (
	asError = "error"
	asWarn  = "warn"
)

func check(ctx context.Context, x *session, vars row) ([]order.Finding, error) {
	out := settings(x.d.flavour, vars)
	for _, look := range []func(context.Context, *session, row) ([]order.Finding, error){
		checkReplication, checkPrivileges, checkWriters, checkStart, checkSchema,
	} {
		more, err := look(ctx, x, vars)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	slices.SortStableFunc(out, func(a, b order.Finding) int { return strings.Compare(a.Level, b.Level) })
	return out, nil
}

// rule is a setting that a topology needs.
type rule struct {
	flavour string // "": both
	name    string
	fits    func(v string) bool
	level   string
	why     string
	try     string
}

func is(want string) func(string) bool { return func(v string) bool { return v == want } }
func atMost(n int64) func(string) bool { return func(v string) bool { return number(v) <= n } }

var rules = []rule{
	{"", "log_bin", is("ON"), asError, "without a binary log nobody can replicate from it", "set log_bin and restart"},
	{gtid.MariaDB, "log_slave_updates", is("ON"), asError, "as a primary it could not pass on what it has replicated", "set log_slave_updates=ON and restart"},
	{gtid.MySQL, "log_replica_updates", is("ON"), asError, "as a primary it could not pass on what it has replicated", "set log_replica_updates=ON and restart"},
	{gtid.MySQL, "gtid_mode", is("ON"), asError, "replicas find their place by GTID only", "switch gtid_mode over in its four steps (MySQL Reference Manual, Enabling GTID Transactions Online)"},
	{gtid.MySQL, "enforce_gtid_consistency", is("ON"), asError, "gtid_mode needs it", "set global enforce_gtid_consistency=ON"},
	{gtid.MariaDB, "gtid_strict_mode", is("ON"), asWarn, "a transaction written to a replica can take the number of one of the primary's, unseen", "set global gtid_strict_mode=ON, also in the configuration file"},
	{"", "binlog_format", func(v string) bool { return v != "STATEMENT" }, asWarn, "statements can do something else on a replica, and what only a dead primary has cannot be shown as rows", "set binlog_format=ROW"},
	{"", "sync_binlog", is("1"), asWarn, "after a power failure the primary can lack what its replicas have, and does not come back by itself", "set global sync_binlog=1"},
	{"", "innodb_flush_log_at_trx_commit", is("1"), asWarn, "after a power failure commits can be missing that were acknowledged", "set global innodb_flush_log_at_trx_commit=1"},
	{"", "sync_relay_log", is("1"), asWarn, "it acknowledges what is not on its disk yet: primary and replica losing power together lose acknowledged writes", "set global sync_relay_log=1, or wait for 2 acknowledgements of replicas with their own power"},
	{gtid.MariaDB, "slave_net_timeout", atMost(4), asWarn, "it takes longer to see that its connection is dead", "set slave_net_timeout=4 in the configuration file"},
	{gtid.MySQL, "replica_net_timeout", atMost(4), asWarn, "it takes longer to see that its connection is dead", "set replica_net_timeout=4 in the configuration file"},
	{gtid.MySQL, "replica_preserve_commit_order", is("ON"), asWarn, "transactions become visible in another order than on the primary", "set global replica_preserve_commit_order=ON"},
	{gtid.MySQL, "performance_schema", is("ON"), asWarn, "heartbeats of the source cannot be counted, so that a silent one is told later", "set performance_schema=ON and restart"},
	{gtid.MySQL, "skip_replica_start", is("ON"), asWarn, "at its start it follows whom it followed before, before it is told whom", "set skip_replica_start=ON in the configuration file"},
}

func settings(flavour string, vars row) []order.Finding {
	var out []order.Finding
	for _, r := range rules {
		v, there := vars[r.name]
		if r.flavour != "" && r.flavour != flavour || !there || r.fits(v) {
			continue
		}
		out = append(out, order.Finding{Level: r.level, What: r.name + " is " + v, Why: r.why, Try: r.try})
	}
	if old(flavour, vars["version"]) {
		out = append(out, order.Finding{Level: asError, What: "version " + vars["version"], Why: "it lacks statements that are needed", Try: "upgrade to MySQL 8.0.23 or MariaDB 10.5, or later"})
	}
	_, source := vars["rpl_semi_sync_source_enabled"]
	_, replica := vars["rpl_semi_sync_replica_enabled"]
	if !source || !replica {
		out = append(out, order.Finding{Level: asWarn, What: "semi-synchronous replication is not loaded", Why: "writes that are acknowledged can be lost with the primary", Try: "adopt it: the plugins are loaded then"})
	}
	return out
}

// old compares a version with the oldest that will do.
func old(flavour, version string) bool {
	least := [3]int{8, 0, 23}
	if flavour == gtid.MariaDB {
		least = [3]int{10, 5, 0}
	}
	var have [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(part)
		}
		have[i], _ = strconv.Atoi(part[:digits])
	}
	return slices.Compare(have[:], least[:]) < 0
}

// checkReplication looks at how the server replicates.
func checkReplication(ctx context.Context, x *session, vars row) ([]order.Finding, error) {
	channels, err := x.d.channels(ctx, x)
	if err != nil {
		return nil, err
	}
	var out []order.Finding
	add := func(level, what, why, try string) {
		out = append(out, order.Finding{Level: level, What: what, Why: why, Try: try})
	}
	if len(channels) > 1 {
		add(asWarn, fmt.Sprintf("it replicates from %d sources", len(channels)), "only the unnamed channel, or else the first, is looked after", "give it the role observer")
	}
	if len(channels) > 0 && on(vars["rpl_semi_sync_source_enabled"]) {
		add(asError, "it waits for acknowledgements while it replicates", "its applier waits as well, and for ever when nobody follows it", "switch rpl_semi_sync_source_enabled (master) off, also in the configuration file")
	}
	for _, c := range channels {
		from := "from " + c.source
		if !c.byGTID {
			add(asError, "it replicates "+from+" by file and position", "it would not find its place at another source", "stop it, point it anew by GTID (auto position) and start it")
		}
		if c.delay > 0 {
			add(asWarn, fmt.Sprintf("it replicates %s later by %v on purpose", from, c.delay), "as a candidate it would have to catch up first", "give it the role observer")
		}
		if c.applyErr != "" {
			add(asError, "it cannot apply what it receives "+from, c.applyErr, "repair it, or make it anew from a copy")
		}
		if c.filtered {
			add(asWarn, "it leaves out a part of what it receives "+from, "as a primary it would lack that", "give it the role observer, or make it anew without filters")
		}
	}
	return out, nil
}

// needed are privileges without which some order would be refused.
var needed = map[string][]string{
	gtid.MariaDB: {"SUPER", "RELOAD", "PROCESS", "BINLOG MONITOR", "BINLOG ADMIN", "CONNECTION ADMIN", "READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN", "SLAVE MONITOR"},
	gtid.MySQL:   {"RELOAD", "PROCESS", "REPLICATION CLIENT", "REPLICATION SLAVE", "CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN", "REPLICATION_SLAVE_ADMIN"},
}

func checkPrivileges(ctx context.Context, x *session, _ row) ([]order.Finding, error) {
	var account string
	if err := x.QueryRowContext(ctx, "SELECT CURRENT_USER()").Scan(&account); err != nil {
		return nil, err
	}
	at := strings.LastIndex(account, "@")
	grantee := "'" + account[:max(at, 0)] + "'@'" + account[at+1:] + "'"
	rows, err := x.rows(ctx, "SELECT privilege_type FROM information_schema.user_privileges WHERE grantee=?", grantee)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, r := range rows {
		have[r["privilege_type"]] = true
	}
	var missing []string
	for _, p := range needed[x.d.flavour] {
		if !have[p] {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	all := strings.Join(missing, ", ")
	return []order.Finding{{Level: asError, What: "the account " + grantee + " lacks " + all, Why: "orders would be refused by the server", Try: "grant " + all + " on *.* to " + grantee}}, nil
}

// checkWriters names accounts that write to a read-only MariaDB. MySQL's super_read_only
// knows no exceptions.
func checkWriters(ctx context.Context, x *session, _ row) ([]order.Finding, error) {
	if x.d.flavour != gtid.MariaDB {
		return nil, nil
	}
	rows, err := x.rows(ctx, "SELECT DISTINCT grantee FROM information_schema.user_privileges WHERE privilege_type IN ('READ_ONLY ADMIN', 'READ ONLY ADMIN') "+
		"AND grantee NOT LIKE '''root''@%' AND grantee NOT LIKE '''mariadb.sys''@%' AND grantee NOT LIKE CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@%') ORDER BY 1 LIMIT 10")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var names []string
	for _, r := range rows {
		names = append(names, r["grantee"])
	}
	all := strings.Join(names, ", ")
	return []order.Finding{{Level: asWarn, What: "accounts that write to a read-only server: " + all, Why: "read_only does not keep them from writing to a replica, or to the old primary at a switchover", Try: "revoke READ_ONLY ADMIN (before 10.11: SUPER) from them"}}, nil
}

// checkStart looks whether the server starts open for writes.
func checkStart(ctx context.Context, x *session, vars row) ([]order.Finding, error) {
	q := "SELECT global_value_origin FROM information_schema.system_variables WHERE variable_name='READ_ONLY'"
	if x.d.flavour == gtid.MySQL {
		q = "SELECT IF((SELECT COUNT(*) FROM performance_schema.persisted_variables WHERE variable_name IN ('read_only','super_read_only') AND variable_value='ON') > 0, 'PERSISTED', " +
			"(SELECT variable_source FROM performance_schema.variables_info WHERE variable_name='read_only'))"
	}
	origin, err := x.value(ctx, q)
	if err != nil {
		return nil, err
	}
	closed := vars["read_only"] != "OFF"
	var what string
	switch origin {
	case "PERSISTED":
		return nil, nil
	case "SQL", "DYNAMIC":
		what = "whether it starts closed for writes cannot be told: read_only was set while it runs"
	case "COMPILE-TIME", "COMPILED":
		what = "it starts open for writes"
	default:
		if closed {
			return nil, nil
		}
		what = "it starts open for writes"
	}
	return []order.Finding{{Level: asWarn, What: what, Why: "an old primary that comes back takes writes until it is closed", Try: "set read_only=ON in the configuration file (super_read_only=ON for MySQL)"}}, nil
}

func checkSchema(ctx context.Context, x *session, _ row) ([]order.Finding, error) {
	have, err := x.value(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='kaname' AND table_name IN ('epoch','beat')")
	if err != nil || have == "2" {
		return nil, err
	}
	return []order.Finding{{Level: asWarn, What: "the schema kaname is not there", Why: "the story of the topology's primaries is kept in it", Try: "adopt the topology: it is made on the primary then"}}, nil
}
