package hook

import (
	"cmp"
	"context"
	"net"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// sshBound is how long the former primary's sshd may take to accept.
const sshBound = time.Second

// mha returns the command line as MHA 0.58 makes it (MasterFailover.pm, MasterRotate.pm):
// the script's setting may have arguments of its own. Two things differ: passwords are
// not passed, and a script for switchovers is not told at "stop" who becomes primary
// when that is not known then.
func (d *driver) mha(ctx context.Context, order string, t endpoint.Target, former *topology.Member) string {
	next := t.Primary
	if former == nil {
		former = next // the first time: nobody was before
	}
	user := d.set[userName]
	ssh := d.set[sshUser]
	a := arguments{}
	if t.Kind == topology.Switchover && d.set[online] != "" {
		a.add("command", order)
		a.member("orig_master", former)
		a.add("orig_master_user", user)
		a.member("new_master", next)
		a.add("new_master_user", user)
		a.add("orig_master_ssh_user", ssh)
		a.add("new_master_ssh_user", ssh)
		a.add("orig_master_ssh_port", port(d.set[sshPort]))
		a.add("new_master_ssh_port", port(d.set[sshPort]))
		a.text += " --orig_master_is_new_slave"
		return d.set[online] + a.text
	}
	if order == stop {
		a.member("orig_master", former)
		if ssh != "" && d.reaches(ctx, former) {
			order = stopBy
		}
		a.add("command", order)
		if order == stopBy {
			a.add("ssh_user", ssh)
		}
		return d.set[failover] + a.text
	}
	a.add("command", order)
	a.add("ssh_user", ssh)
	a.member("orig_master", former)
	a.member("new_master", next)
	a.add("new_master_user", user)
	return d.set[failover] + a.text
}

// port is told only where it is not the usual one.
func port(p string) string {
	if p == "22" {
		return ""
	}
	return p
}

// reaches reports whether the sshd of a member's host accepts connections.
func (d *driver) reaches(ctx context.Context, m *topology.Member) bool {
	ip, _, err := net.SplitHostPort(m.Address)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, sshBound)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(ip, cmp.Or(d.set[sshPort], "22")))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// arguments is a list of arguments, quoted for a shell.
type arguments struct{ text string }

func (a *arguments) add(key, value string) {
	if value != "" {
		a.text += " --" + key + "=" + quote(value)
	}
}

// member adds the three arguments by which MHA names a server.
func (a *arguments) member(prefix string, m *topology.Member) {
	if m == nil {
		return
	}
	ip, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		ip = m.Address
	}
	a.add(prefix+"_host", cmp.Or(m.Host, m.Name, ip))
	a.add(prefix+"_ip", ip)
	a.add(prefix+"_port", port)
}

// quote makes one word of a shell of a value.
func quote(v string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.:-", r)
	}
	if strings.TrimFunc(v, plain) == "" {
		return v
	}
	return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
}

// Status runs MHA's scripts with --command=status, as MHA does before it begins to watch: a
// script that does not answer 0 would not do in need. Kaname's own scripts have no such
// order.
func Status(ctx context.Context, o endpoint.Options, primary topology.Member) error {
	e, err := New(o)
	if err != nil {
		return err
	}
	d, ok := e.(*driver)
	if !ok || d.set[command] != "" {
		return nil
	}
	a := arguments{}
	a.add("command", "status")
	a.add("ssh_user", d.set[sshUser])
	a.member("orig_master", &primary)
	return d.check(ctx, d.set[failover]+a.text)
}
