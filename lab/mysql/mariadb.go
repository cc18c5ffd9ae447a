package mysql

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
)

// MariaDB starts a MariaDB server, closed for writes and replicating from nobody, which
// ends with the test. It acknowledges as a semi-synchronous replica; it waits for
// acknowledgements only once that is switched on (Bed does, on the primary).
func MariaDB(t testing.TB, o Options) *Server {
	t.Helper()
	s := startMariaDB(t, o)
	s.await(t)
	return s
}

func startMariaDB(t testing.TB, o Options) *Server {
	t.Helper()
	program := lab.Need(t, "mariadbd")
	install := lab.Need(t, "mariadb-install-db")
	argv := func(s *Server) []string { return mariadbArgs(program, s) }
	version, err := exec.Command(program, "--no-defaults", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	data := template(t, FlavourMariaDB, strings.TrimSpace(string(version)), func(data string) *exec.Cmd {
		return exec.Command(install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
			"--skip-name-resolve", "--datadir="+data, "--user=root", "--innodb-log-file-size=16M")
	}, argv)
	return start(t, FlavourMariaDB, o, data, argv)
}

// mariadbArgs returns a server's command line. Durable, as for production: what a test
// proves should not rest on a setting that nobody dares to use.
func mariadbArgs(program string, s *Server) []string {
	return []string{
		program, "--no-defaults", "--user=root",
		"--datadir=" + s.DataDir, "--socket=" + s.Socket, "--pid-file=" + s.PIDFile, "--log-error=" + s.ErrLog,
		"--bind-address=" + s.IP, "--port=" + strconv.Itoa(s.Port), "--report-host=" + s.IP, "--report-port=" + strconv.Itoa(s.Port),
		"--server-id=" + strconv.Itoa(s.ID), "--skip-name-resolve", "--read-only=ON",
		"--log-bin=bin", "--relay-log=relay", "--log-slave-updates=ON", "--binlog-format=ROW",
		"--gtid-domain-id=0", "--gtid-strict-mode=ON", "--slave-net-timeout=4",
		// The waiting side is for the primary alone: on a replica it would block the applier.
		"--rpl-semi-sync-slave-enabled=ON", "--rpl-semi-sync-master-timeout=" + never,
		"--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-wait-no-slave=ON",
		"--innodb-buffer-pool-size=48M", "--innodb-log-file-size=16M", "--performance-schema=OFF",
		"--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--max-connections=200",
	}
}

// never is a semi-synchronous timeout, in milliseconds, that does not pass in a test.
const never = "1000000000"
