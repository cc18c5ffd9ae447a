package mha

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Config reads an application's configuration file (app1.cnf) and, when it has a name, the
// global one (/etc/masterha_default.cnf). It always returns an Import; what is wrong with the
// files is told in rows of level attention.
func Config(app, global File) *Import {
	c := &config{result: &Import{Policy: topology.DefaultPolicy()}}
	if global.Name != "" {
		c.read(global, true)
	}
	c.read(app, false)
	c.members()
	c.told(app.Name)
	if len(c.result.Members) == 0 {
		c.result.row(Row{Where: app.Name, Option: "[server1]"}, Attention, "no server is defined; MHA refuses the file too")
	}
	return c.result
}

type config struct {
	result   *Import
	defaults map[string]string // of [server default], the application's over the global ones
	servers  []*section        // in the order found
}

type section struct {
	name, where string
	values      map[string]string
}

// read takes one file in.
func (c *config) read(f File, global bool) {
	lines, troubles := parse(f.Data)
	if c.defaults == nil {
		c.defaults = map[string]string{}
	}
	last := map[string]int{}
	for _, l := range lines {
		last[l.section+"\x00"+l.option] = l.number
	}
	at := func(number int) string { return fmt.Sprintf("%s:%d", f.Name, number) }
	for len(lines) > 0 || len(troubles) > 0 {
		if len(lines) == 0 || len(troubles) > 0 && troubles[0].number < lines[0].number {
			t := troubles[0]
			troubles = troubles[1:]
			c.result.row(Row{Where: at(t.number), Option: t.text}, Attention, t.why)
			continue
		}
		l := lines[0]
		lines = lines[1:]
		r := Row{Where: at(l.number), Section: l.section, Option: l.option, Value: l.value}
		known, ok := parameters[l.option]
		switch again := last[l.section+"\x00"+l.option]; {
		case !ok:
			c.result.row(r, Attention, "MHA 0.58 has no such option and refuses the file"+alike(l.option))
		case again != l.number:
			c.result.row(r, Dropped, fmt.Sprintf("said again on line %d, and the last one holds", again))
		case l.section == "":
			c.result.row(r, Attention, "stands before the first section; MHA refuses the file")
		case global && l.section != defaults:
			c.result.row(r, Dropped, "MHA reads only [server default] of the global file")
		case isBinlog(l.section):
			c.result.row(r, cmp.Or(binlogs[l.option], Dropped), binlogServer)
		case l.section != defaults && !isServer(l.section):
			c.result.row(r, Dropped, "its section is not one of MHA's")
		case l.section == defaults && known.local:
			c.result.row(r, Attention, "belongs into a [server…] section; MHA ignores it here")
		default:
			c.set(l, r.Where)
			level, becomes := known.say(c, l)
			c.result.row(r, level, becomes)
		}
	}
}

// set keeps a value where members look for it.
func (c *config) set(l line, where string) {
	if l.section == defaults {
		c.defaults[l.option] = l.value
		return
	}
	n := slices.IndexFunc(c.servers, func(s *section) bool { return s.name == l.section })
	if n < 0 {
		n = len(c.servers)
		c.servers = append(c.servers, &section{l.section, where, map[string]string{}})
	}
	c.servers[n].values[l.option] = l.value
}

// members makes members of the servers.
func (c *config) members() {
	count := map[string]int{}
	for _, s := range c.servers {
		count[s.values["hostname"]]++
	}
	seen := map[string]string{}
	for _, s := range c.servers {
		host := s.values["hostname"]
		if host == "" {
			c.result.row(Row{Where: s.where, Section: s.name, Option: "hostname"}, Attention, "is missing; MHA refuses the file, and there is no member")
			continue
		}
		if !isHost(host) {
			continue // its row says so
		}
		ip := s.values["ip"]
		if !isHost(ip) {
			ip = host
		}
		port := cmp.Or(s.values["port"], c.defaults["port"], "3306")
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			c.result.row(Row{Where: s.where, Section: s.name, Option: "port", Value: port}, Attention, "is not a port; 3306 was taken")
			port = "3306"
		}
		address := net.JoinHostPort(ip, port)
		if other := seen[address]; other != "" {
			c.result.row(Row{Where: s.where, Section: s.name, Option: "hostname", Value: host}, Attention, "is at "+address+" as "+other+" is; MHA refuses the file, and there is one member")
			continue
		}
		seen[address] = s.name
		m := topology.Member{Name: host, Host: host, Address: address, Role: topology.Candidate}
		if count[host] > 1 {
			m.Name = host + "-" + port
		}
		if on(s.values["candidate_master"]) {
			m.Role = topology.Preferred
		}
		if on(s.values["no_master"]) {
			m.Role = topology.Never
		}
		c.result.Members = append(c.result.Members, m)
	}
}

// told completes the endpoint that runs scripts by what MHA tells them.
func (c *config) told(file string) {
	n := slices.IndexFunc(c.result.Policy.Endpoints, func(e topology.Endpoint) bool { return e.Kind == "hook" })
	if n < 0 {
		return
	}
	settings := c.result.Policy.Endpoints[n].Settings
	if settings[hookFailover] == "" {
		c.result.Policy.Endpoints = slices.Delete(c.result.Policy.Endpoints, n, n+1)
		c.result.row(Row{Where: file, Option: "master_ip_failover_script"}, Attention, "is missing or not to be used as it is; endpoint hook is left out, for a failover needs it")
		return
	}
	for _, key := range []string{"ssh_user", "ssh_port", "user"} {
		if value := c.defaults[key]; value != "" && !strings.ContainsAny(value, " \t") {
			settings[key] = value
		}
	}
}

// on tells as Perl does whether a value is true.
func on(value string) bool { return value != "" && value != "0" }

// alike returns a hint at the known option that a wrong one may mean.
func alike(option string) string {
	flat := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	for name := range parameters {
		if flat(name) == flat(option) {
			return "; perhaps " + name + " was meant"
		}
	}
	return ""
}
