package mha_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/hook"
	"kaname.dev/kaname/rib/mysql/mha"
	"kaname.dev/kaname/rib/mysql/topology"
)

const globalFile = `# for all applications
[server default]
user=root
password=global-secret
ssh_user=root
ssh_port=2222
ping_interval=3
report_script=/script/masterha/send_report
`

const appFile = `[server default]
manager_workdir = /var/log/masterha/app1
manager_log=/var/log/masterha/app1/manager.log ; for people
password="app-secret"
repl_user=repl
repl_password='repl-secret'
port=3307
ping_type=insert
master_binlog_dir= /var/lib/mysql,/var/log/mysql
secondary_check_script= masterha_secondary_check -s remote_host1 -s remote_host2
master_ip_failover_script=/script/masterha/master_ip_failover
master_ip_online_change_script= /script/masterha/master_ip_online_change
shutdown_script= /script/masterha/power_manager --ilo 10.0.0.9

[server1]
hostname=db1
ip=10.0.0.1
candidate_master=1

[server2]
hostname = db2
candidate_master=1
check_repl_delay=0

  [ server10 ]
hostname=db3
port=3306
no_master=1
ignore_fail=1

[binlog1]
hostname=logs1
`

func config(app, global string) *mha.Import {
	return mha.Config(mha.File{Name: "app1.cnf", Data: []byte(app)}, mha.File{Name: "masterha_default.cnf", Data: []byte(global)})
}

// find returns the rows of an option.
func find(i *mha.Import, section, option string) (rows []mha.Row) {
	for _, r := range i.Rows {
		if r.Option == option && r.Section == section {
			rows = append(rows, r)
		}
	}
	return rows
}

func TestConfig(t *testing.T) {
	i := config(appFile, globalFile)
	if diff := cmp.Diff([]topology.Member{
		{Name: "db1", Host: "db1", Address: "10.0.0.1:3307", Role: topology.Preferred},
		{Name: "db2", Host: "db2", Address: "db2:3307", Role: topology.Preferred},
		{Name: "db3", Host: "db3", Address: "db3:3306", Role: topology.Never},
	}, i.Members); diff != "" {
		t.Error(diff)
	}
	policy := topology.DefaultPolicy()
	policy.FenceCommand = []string{"/script/masterha/power_manager", "--ilo", "10.0.0.9", "--command=stop", "--host={host}", "--ip={ip}", "--port={port}"}
	policy.Endpoints = []topology.Endpoint{{Kind: "hook", Settings: map[string]string{
		"failover": "/script/masterha/master_ip_failover", "online": "/script/masterha/master_ip_online_change", "ssh_user": "root", "user": "root", "ssh_port": "2222",
	}}}
	if diff := cmp.Diff(policy, i.Policy); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"remote_host1", "remote_host2"}, i.Observers); diff != "" {
		t.Error(diff)
	}
	want := "kaname mysql adopt shop --primary PRIMARY --replicas db1,db2,db3 --prefer db1,db2 --never db3 " +
		"--fence-command=/script/masterha/power_manager --fence-command=--ilo --fence-command=10.0.0.9 --fence-command=--command=stop " +
		"'--fence-command=--host={host}' '--fence-command=--ip={ip}' '--fence-command=--port={port}' " +
		"--endpoint 'hook failover=/script/masterha/master_ip_failover online=/script/masterha/master_ip_online_change ssh_port=2222 ssh_user=root user=root'"
	if diff := cmp.Diff(want, i.Adopt("shop", "")); diff != "" {
		t.Error(diff)
	}
	if got := i.Adopt("shop", "db2"); !strings.Contains(got, "--primary db2 --replicas db1,db3 ") {
		t.Errorf("with a primary: %s", got)
	}
	if _, err := hook.New(endpoint.Options{Topology: "shop", Settings: i.Policy.Endpoints[0].Settings}); err != nil {
		t.Error(err)
	}
	levels := map[mha.Level]int{}
	for _, r := range i.Rows {
		levels[r.Level]++
		if r.Becomes == "" || r.Where == "" {
			t.Errorf("says nothing: %+v", r)
		}
	}
	if n := strings.Count(appFile+globalFile, "="); len(i.Rows) != n {
		t.Errorf("%d rows for %d options", len(i.Rows), n)
	}
	if diff := cmp.Diff(map[mha.Level]int{mha.OK: 9, mha.Changed: 13, mha.Dropped: 5, mha.Attention: 2}, levels); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(i)
	if err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("a secret is shown: %s, %v", text, err)
	}
	if rows := find(i, "server default", "password"); len(rows) != 2 || rows[0].Where != "masterha_default.cnf:4" || rows[1].Where != "app1.cnf:4" || rows[1].Value != "***" {
		t.Errorf("passwords: %+v", rows)
	}
	if rows := find(i, "server default", "manager_log"); len(rows) != 1 || rows[0].Value != "/var/log/masterha/app1/manager.log" {
		t.Errorf("a comment at the end: %+v", rows)
	}
}

// mhaParameters is @PARAM_ARRAY of MHA 0.58.
const mhaParameters = `hostname ip port ssh_host ssh_ip ssh_port ssh_connection_timeout ssh_options node_label candidate_master no_master ignore_fail
skip_init_ssh_check skip_reset_slave user password repl_user repl_password disable_log_bin master_pid_file handle_raw_binlog ssh_user remote_workdir
master_binlog_dir log_level manager_workdir manager_log check_repl_delay check_repl_filter latest_priority multi_tier_slave ping_interval ping_type
secondary_check_script master_ip_failover_script master_ip_online_change_script shutdown_script report_script init_conf_load_script client_bindir
client_libdir use_gtid_auto_pos`

func TestEveryParameterOfMHAIsKnown(t *testing.T) {
	for name := range strings.FieldsSeq(mhaParameters) {
		for _, value := range []string{"", "0", "1", "/a/script", "a b 'c"} {
			i := config(fmt.Sprintf("[server1]\nhostname=db1\n[server2]\nhostname=db2\n%s=%s\n", name, value), "")
			rows := find(i, "server2", name)
			if name == "hostname" {
				rows = rows[1:]
			}
			if len(rows) == 0 || strings.Contains(rows[0].Becomes, "no such option") || rows[0].Becomes == "" {
				t.Errorf("%s=%s: %+v", name, value, rows)
			}
		}
	}
}

func TestWhatIsWrongInAFileIsToldWithItsLine(t *testing.T) {
	for _, c := range []struct{ app, where, option, want string }{
		{"[server1]\nhostname=db1\ncandidatemaster=1\n", "app1.cnf:3", "candidatemaster", "perhaps candidate_master was meant"},
		{"[server1]\nhostname=db1\ncolour=red\n", "app1.cnf:3", "colour", "no such option"},
		{"[server1]\nhostname=db1\nno_master=0\nno_master=1\n", "app1.cnf:3", "no_master", "again on line 4"},
		{"[server1]\nhostname=db1\nwhat is this\n", "app1.cnf:3", "", "not a section"},
		{"[mysqld]\n[server1]\nhostname=db1\n", "app1.cnf:1", "[mysqld]", "a section must be"},
		{"user=root\n[server1]\nhostname=db1\n", "app1.cnf:1", "user", "before the first section"},
		{"[server default]\ncandidate_master=1\n[server1]\nhostname=db1\n", "app1.cnf:2", "candidate_master", "ignores it here"},
		{"[server1]\nport=3306\n[server2]\nhostname=db2\n", "app1.cnf:2", "hostname", "is missing"},
		{"[server1]\nhostname=db1\n\n[server2]\nhostname=db1\n", "app1.cnf:5", "hostname", "as server1 is"},
		{"[server1]\nhostname=db 1\n", "app1.cnf:2", "hostname", "is no name of a host"},
		{"[server1]\nhostname=db1\nip=x y\n", "app1.cnf:3", "ip", "is no address"},
		{"[server1]\nhostname=db1\nport=many\n", "app1.cnf:2", "port", "is not a port"},
		{"[server1]\nhostname=db1\ncandidate_master=1\nno_master=1\n", "app1.cnf:4", "no_master", "though it is candidate_master"},
		{"[server1]\nhostname=db1\nshutdown_script=power --password=x\n", "app1.cnf:3", "shutdown_script", "has a password"},
		{"[server1]\nhostname=db1\nmaster_ip_failover_script=/a/b --c\n", "app1.cnf:3", "master_ip_failover_script", "carries no blanks"},
		{"[server1]\nhostname=db1\nmaster_ip_online_change_script=/a/b\n", "app1.cnf", "master_ip_failover_script", "a failover needs it"},
		{"[server1]\nhostname=db1\nsecondary_check_script=/own/check\n", "app1.cnf:3", "secondary_check_script", "is not run"},
		{"# nothing\n", "app1.cnf", "[server1]", "no server is defined"},
	} {
		i := config(c.app, "")
		if !slices.ContainsFunc(i.Rows, func(r mha.Row) bool {
			return r.Where == c.where && r.Option == c.option && strings.Contains(r.Becomes, c.want) && (r.Level == mha.Attention || r.Level == mha.Dropped)
		}) {
			t.Errorf("%q: no row at %s with %q in %+v", c.app, c.where, c.want, i.Rows)
		}
	}
}

func TestServersOfOneHostAreToldApart(t *testing.T) {
	i := config("[server1]\nhostname=db1\n[server2]\nhostname=db1\nport=3307\n", "")
	var names []string
	for _, m := range i.Members {
		names = append(names, m.Name+" "+m.Address)
	}
	if diff := cmp.Diff([]string{"db1-3306 db1:3306", "db1-3307 db1:3307"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestCommandLine(t *testing.T) {
	policy := func(change func(*topology.Policy)) topology.Policy {
		p := topology.DefaultPolicy()
		change(&p)
		return p
	}
	same := policy(func(*topology.Policy) {})
	for _, c := range []struct {
		line    string
		primary string
		members string
		policy  topology.Policy
	}{
		{
			"mysqlfailover --master=root:s3cret@db1:3306 --slaves=root:s3cret@db2:3306,root:s3cret@db3 --candidates=root@db2 --failover-mode=auto",
			"db1", "db1 db1:3306 candidate, db2 db2:3306 preferred, db3 db3:3306 candidate", same,
		},
		{
			"mysqlfailover --master root@10.0.0.1:3307:/run/m.sock --slaves 'root:p@ss@10.0.0.2' --cand root@10.0.0.2 -f elect --pedantic",
			"10.0.0.1", "10.0.0.1 10.0.0.1:3307 candidate, 10.0.0.2 10.0.0.2:3306 preferred", same,
		},
		{
			"mysqlfailover --master=root@[2001:db8::1]:3306 --slaves=root@2001:db8::2,root@'db3' --candidates=root@db3 --failover-mode=elect",
			"2001:db8::1", "2001:db8::1 [2001:db8::1]:3306 candidate, 2001:db8::2 [2001:db8::2]:3306 never, db3 db3:3306 preferred", same,
		},
		{
			"mysqlfailover --master=root@db1 --slaves=root@db1:3307,root@db1:3308 --failover-mode=fail --timeout=120 --seconds-behind=5 --master-fail-retry=4",
			"db1-3306", "db1-3306 db1:3306 candidate, db1-3307 db1:3307 candidate, db1-3308 db1:3308 candidate",
			policy(func(p *topology.Policy) {
				p.Manual, p.Drain, p.MaxLag, p.Silence = true, 2*time.Minute, 5*time.Second, 5500*time.Millisecond
			}),
		},
		{
			"mysqlrpladmin --master=root@db1 --new-master=root@db2 --slaves=root@db2,root@db3 --demote-master -vvv -q switchover",
			"db1", "db1 db1:3306 candidate, db2 db2:3306 candidate, db3 db3:3306 candidate", same,
		},
		{"mysqlfailover --master=instance_3306 --discover-slaves-login=root:s3cret", "", "", same},
	} {
		words, err := mha.Words(c.line)
		if err != nil {
			t.Fatal(err)
		}
		i := mha.CommandLine(words)
		var members []string
		for _, m := range i.Members {
			members = append(members, m.Name+" "+m.Address+" "+string(m.Role))
		}
		if got := strings.Join(members, ", "); got != c.members || i.Primary != c.primary {
			t.Errorf("%s:\n members %s, primary %s\n want    %s, primary %s", c.line, got, i.Primary, c.members, c.primary)
		}
		if diff := cmp.Diff(c.policy, i.Policy); diff != "" {
			t.Errorf("%s: %s", c.line, diff)
		}
		text, err := json.Marshal(i)
		if err != nil || strings.Contains(string(text), "s3cret") || strings.Contains(string(text), "p@ss") {
			t.Errorf("a password is shown: %s", text)
		}
	}
}

// The options that the programs print with --help, version 1.6.
const (
	bothOptions     = "--help --license --version --candidates --discover-slaves-login --exec-after --exec-before --log --log-age --master --max-position --ping --seconds-behind --slaves --timeout --script-threshold --force --verbose --rpl-user --ssl-ca --ssl-cert --ssl-key --ssl"
	failoverOptions = "--interval --failover-mode --exec-fail-check --exec-post-failover --pedantic --no-keyboard --daemon --pidfile --report-values --connection-timeout --master-fail-retry"
	adminOptions    = "--new-master --format --demote-master --no-health --quiet"
)

func TestEveryOptionOfTheUtilitiesIsKnown(t *testing.T) {
	for program, options := range map[string]string{"mysqlfailover": bothOptions + " " + failoverOptions, "mysqlrpladmin": bothOptions + " " + adminOptions} {
		for option := range strings.FieldsSeq(options) {
			known := 0
			for _, words := range [][]string{{program, option}, {program, option, "5"}, {program, option + "=5"}} {
				i := mha.CommandLine(words)
				if len(i.Rows) == 0 || i.Rows[0].Option != option || strings.Contains(i.Rows[0].Becomes, "no such option") {
					t.Errorf("%q: %+v", words, i.Rows)
				}
				known++
			}
		}
	}
	for line, want := range map[string]string{
		"mysqlfailover --no-health":       "no such option",
		"mysqlrpladmin health -i 5":       "no such option",
		"mysqlfailover --exec=x":          "--exec-after, --exec-before, --exec-fail-check, --exec-post-failover",
		"mysqlfailover --pedantic=yes":    "takes no value",
		"mysqlfailover --master":          "has no value",
		"mysqlfailover --timeout=soon":    "no number of seconds",
		"mysqlfailover --master=root@a;b": "is no name of a host",
		"mysqlfailover --master=root@":    "has no host",
		"mysqlfailover nonsense":          "no option and no command",
	} {
		if i := mha.CommandLine(strings.Fields(line)); !slices.ContainsFunc(i.Rows, func(r mha.Row) bool {
			return r.Level == mha.Attention && strings.Contains(r.Becomes, want)
		}) {
			t.Errorf("%s: %+v, want %q", line, i.Rows, want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"  a  b\tc\n":          {"a", "b", "c"},
		`a 'b c' "d 'e'" f\ g`: {"a", "b c", "d 'e'", "f g"},
		`x="1 2"'3'`:           {"x=1 23"},
		"a \\\n b ''":          {"a", "", "b", ""},
	} {
		got, err := mha.Words(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" && text != "a \\\n b ''" {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"'a", `"a`, `a\`} {
		if got, err := mha.Words(text); err == nil {
			t.Errorf("%q: %q and no error", text, got)
		}
	}
}

// Whatever the file looks like, a password is in no row, and in no command.
func TestSecretsAreNeverShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const secret = "Zx9-Qw7"
		names := rapid.SliceOfN(rapid.SampledFrom(strings.Fields(mhaParameters)), 1, 12).Draw(t, "options")
		var b strings.Builder
		for n, name := range names {
			value := rapid.SampledFrom([]string{"0", "1", "db1", "/x/y --a=b", "power --password=" + secret, "power --passwd '" + secret + "'"}).Draw(t, "value")
			if strings.HasSuffix(name, "password") {
				value = rapid.SampledFrom([]string{"", "'", `"`}).Draw(t, "quote") + secret
			}
			if n == 0 || rapid.Bool().Draw(t, "next section") {
				fmt.Fprintf(&b, "[%s]\n", rapid.SampledFrom([]string{"server default", "server1", "server2", "binlog1", "other"}).Draw(t, "section"))
			}
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
		i := config(b.String(), b.String())
		text, err := json.Marshal(i)
		if err != nil || strings.Contains(string(text)+i.Adopt("shop", ""), secret) {
			t.Fatalf("shown by\n%s\n%s\n%s", &b, text, i.Adopt("shop", ""))
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add(appFile, globalFile)
	f.Add("[server1]\nhostname=\xff\r\n=\n[", "[server default]\n a = 'b\n")
	f.Fuzz(func(t *testing.T, app, global string) {
		i := config(app, global)
		names := map[string]bool{}
		for _, m := range i.Members {
			if m.Name == "" || names[m.Name] {
				t.Fatalf("a member without a name of its own: %+v", i.Members)
			}
			names[m.Name] = true
		}
		if _, err := mha.Words(i.Adopt("shop", "")); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzCommandLine(f *testing.F) {
	f.Add("mysqlfailover --master=root:x@db1 --slaves='root@db2,root:y@[::1]:3306' -i5 --cand root@db2")
	f.Add("mysqlrpladmin --new-master=root@db2:3306:/s switchover -vvv --")
	f.Fuzz(func(t *testing.T, line string) {
		words, err := mha.Words(line)
		if err != nil {
			words = strings.Fields(line)
		}
		i := mha.CommandLine(words)
		again, err := mha.Words(i.Adopt("shop", ""))
		if err != nil || len(again) < 6 {
			t.Fatalf("%q, %v", again, err)
		}
		for _, r := range i.Rows {
			if r.Becomes == "" || !slices.Contains(slices.Collect(maps.Keys(map[mha.Level]bool{mha.OK: true, mha.Changed: true, mha.Dropped: true, mha.Attention: true})), r.Level) {
				t.Fatalf("%+v", r)
			}
		}
	})
}
