package mha

import (
	"strings"
)

// parameter is one of MHA's options.
type parameter struct {
	local bool // only in sections of servers: the wiki's column "Scope"
	say   func(c *config, l line) (Level, string)
}

// is makes a parameter of which always the same is to be said.
func is(level Level, becomes string) parameter {
	return parameter{say: func(*config, line) (Level, string) { return level, becomes }}
}

// local makes it one of servers only.
func local(p parameter) parameter { p.local = true; return p }

// either makes a parameter that is on or off; the other's text is said for its default.
func either(level Level, becomes string, otherwise Level, other string) parameter {
	return parameter{say: func(_ *config, l line) (Level, string) {
		if on(l.value) {
			return level, becomes
		}
		return otherwise, other
	}}
}

const (
	noSSH        = "not needed: an agent on each host does what MHA did over ssh"
	noManager    = "not needed: what is known and done is kept in the plane; see kaname mysql history"
	noClients    = "not needed: kaname speaks the protocol and reads binary logs itself"
	binlogServer = "kaname has no binlog servers: what the dead primary has not sent is read from its own disk by its agent, while the host lives"
	asByDefault  = "as without it"
)

// binlogs are the levels of options in [binlog…]; the others are dropped.
var binlogs = map[string]Level{"hostname": Attention}

// The settings of endpoint "hook" that take MHA's scripts.
const (
	hookFailover = "failover"
	hookOnline   = "online"
)

// parameters are all that MHA 0.58 takes: @PARAM_ARRAY in lib/MHA/Config.pm.
var parameters = map[string]parameter{
	// who and where
	"hostname":   local(parameter{say: hostname}),
	"ip":         local(parameter{say: ip}),
	"port":       is(OK, "port of the member's address"),
	"node_label": is(Dropped, "a word in MHA's messages; kaname's names are the members'"),

	// who may become primary
	"candidate_master": local(either(OK, "role preferred: before the others that are as complete", OK, asByDefault)),
	"no_master":        local(parameter{say: noMaster}),
	"ignore_fail":      local(either(Changed, "a broken replica does not stop a failover unless its word is needed for the proof; give it the role observer if it should never count", OK, asByDefault)),
	"latest_priority": either(OK, "the most complete one comes first, always", Changed,
		"the most complete one comes first, always: the order in the file does not count; make those that should come first preferred"),
	"check_repl_delay": either(OK, "what a candidate has received is applied before it is opened, within policy drain (30s)", Changed,
		"a preferred replica that lags applies what it has received before it is opened, within policy drain (30s); which others are as complete and quicker does not matter then"),
	"check_repl_filter": either(OK, "a replica with filters is told of at adoption", Attention,
		"a replica with filters lacks data when it becomes primary: give it the role never or observer"),
	"multi_tier_slave": either(OK, "a replica below another replica is found by looking, and follows its source", OK, asByDefault),

	// accounts
	"user":          is(Changed, "user= in the file that servers[].credentials names, on each host"),
	"password":      is(Changed, "password= in the file that servers[].credentials names, on each host; nowhere else"),
	"repl_user":     is(Changed, "user= in the file that servers[].replication names, on each host"),
	"repl_password": is(Changed, "password= in the file that servers[].replication names, on each host; nowhere else"),

	// detection
	"ping_interval":          is(Changed, "agents look every 500 ms; how long a silence counts as death is policy silence (1.5s), and a process that has ended counts at once"),
	"ping_type":              is(Changed, "always both: a question to each server, and a commit of kaname's own on the primary with its own limit, policy stuck (2.5s)"),
	"secondary_check_script": {say: secondaryCheck},

	// moving
	"skip_reset_slave":               either(Changed, "a new primary never keeps settings of replication: it replicates from nobody", OK, asByDefault),
	"use_gtid_auto_pos":              either(OK, "always by GTID", Changed, "always by GTID; a topology without cannot be adopted"),
	"disable_log_bin":                either(Dropped, "not needed: what is missing is replicated by GTID and is logged like everything", OK, asByDefault),
	"handle_raw_binlog":              is(Dropped, noClients),
	"master_binlog_dir":              is(Dropped, "not needed: the agent asks its server where the binary logs are"),
	"master_pid_file":                is(Changed, "servers[].pid_file of the host's configuration, where the socket does not tell whose it is"),
	"master_ip_failover_script":      {say: script(hookFailover)},
	"master_ip_online_change_script": {say: script(hookOnline)},
	"shutdown_script":                {say: shutdown},
	"report_script":                  is(Attention, "nothing is mailed: kaname mysql history tells of each move with its reasons and times; whoever is to be woken needs an alert on the metrics"),
	"init_conf_load_script":          is(Attention, "is not run: write what it prints into the files that servers[].credentials and servers[].replication name; they are read at each connection"),

	// the manager itself
	"log_level":       is(Dropped, "the agent's own log has its own level"),
	"manager_workdir": is(Dropped, noManager),
	"manager_log":     is(Dropped, noManager),
	"remote_workdir":  is(Dropped, noManager),
	"client_bindir":   is(Dropped, noClients),
	"client_libdir":   is(Dropped, noClients),

	// ssh
	"ssh_host":               local(is(Dropped, noSSH)),
	"ssh_ip":                 local(is(Dropped, noSSH)),
	"ssh_port":               is(Dropped, noSSH+"; scripts of endpoint hook are told it"),
	"ssh_user":               is(Dropped, noSSH+"; scripts of endpoint hook are told it"),
	"ssh_options":            is(Dropped, noSSH),
	"ssh_connection_timeout": is(Dropped, noSSH),
	"skip_init_ssh_check":    local(is(Dropped, noSSH)),
}

func hostname(_ *config, l line) (Level, string) {
	if !isHost(l.value) {
		return Attention, "is no name of a host; there is no member"
	}
	return OK, "member " + l.value + ": an agent on that host, with the server in its configuration (mysql: servers:)"
}

func ip(_ *config, l line) (Level, string) {
	if !isHost(l.value) {
		return Attention, "is no address; the name was taken"
	}
	return OK, "address of the member"
}

func noMaster(c *config, l line) (Level, string) {
	if !on(l.value) {
		return OK, asByDefault
	}
	for _, s := range c.servers {
		if s.name == l.section && on(s.values["candidate_master"]) {
			return Attention, "role never, though it is candidate_master too"
		}
	}
	return OK, "role never: it acknowledges, but never becomes primary"
}

// secondaryCheck reads the hosts of masterha_secondary_check.
func secondaryCheck(c *config, l line) (Level, string) {
	words, err := Words(l.value)
	if err != nil || len(words) == 0 || !strings.HasSuffix(words[0], "masterha_secondary_check") {
		return Attention, "a check of your own is not run; kaname asks the agents of all members, and the replicas' own connections"
	}
	c.result.Observers = nil // the application's over the global one
	for i, w := range words[1:] {
		host := ""
		switch {
		case strings.HasPrefix(w, "--secondary_host="):
			host = strings.TrimPrefix(w, "--secondary_host=")
		case (w == "-s" || w == "--secondary_host") && i+2 < len(words):
			host = words[i+2]
		case strings.HasPrefix(w, "-s") && len(w) > 2:
			host = w[2:]
		}
		if host != "" {
			c.result.Observers = append(c.result.Observers, host)
		}
	}
	return Changed, "not needed: a majority of the replicas' agents must find the primary silent too; further hosts have no say"
}

// script makes one of MHA's scripts a setting of the endpoint that runs them.
func script(setting string) func(*config, line) (Level, string) {
	return func(c *config, l line) (Level, string) {
		if l.value == "" {
			return OK, asByDefault
		}
		if strings.ContainsAny(l.value, " \t") {
			return Attention, "--endpoint carries no blanks: write a script that runs this, and give its path as " + setting + " of endpoint hook"
		}
		c.result.hook(setting, l.value)
		return Changed, "endpoint hook, " + setting + "=" + l.value + ": run on the core that leads, with MHA's arguments but for passwords"
	}
}

// shutdown makes the script the command that cuts off a host that does not answer.
func shutdown(c *config, l line) (Level, string) {
	words, err := Words(l.value)
	if err != nil || len(words) == 0 {
		return Attention, "is not a command"
	}
	if secrets.MatchString(l.value) {
		return Attention, "has a password among its arguments: write a script that reads it from a file, and give that as policy fence-command"
	}
	c.result.Policy.FenceCommand = append(words, "--command=stop", "--host={host}", "--ip={ip}", "--port={port}")
	return Changed, "policy fence-command: run only when no agent of the host answers, always with --command=stop; where one answers it closes or kills the server itself"
}
