package mysql

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// NeedMySQL returns the folder into which scripts/mysql97.sh has unpacked MySQL. Where it
// is missing the test is skipped, also under CI: Debian's unstable suite, from which it
// comes, moves.
func NeedMySQL(t testing.TB) string {
	t.Helper()
	root := filepath.Join(tools(t), "mysql97", "root")
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/mysqld")); err != nil {
		t.Skipf("MYSQL IS NOT TESTED: no MySQL 9.7 in %s; run scripts/mysql97.sh", root)
	}
	return root
}

// MySQL starts a MySQL server as MariaDB does a MariaDB one; it begins with
// super_read_only.
func MySQL(t testing.TB, o Options) *Server {
	t.Helper()
	s := startMySQL(t, o)
	s.await(t)
	return s
}

func startMySQL(t testing.TB, o Options) *Server {
	t.Helper()
	root := NeedMySQL(t)
	version, err := os.ReadFile(filepath.Join(filepath.Dir(root), "version"))
	if err != nil {
		t.Fatal(err)
	}
	argv := func(s *Server) []string { return mysqlArgs(root, s) }
	data := template(t, FlavourMySQL, strings.TrimSpace(string(version)), func(data string) *exec.Cmd {
		words := append(mysqlProgram(root), "--datadir="+data, "--initialize-insecure", "--innodb-redo-log-capacity=32M")
		return exec.Command(words[0], words[1:]...)
	}, argv)
	return start(t, FlavourMySQL, o, data, argv)
}

// mysqlProgram returns the words that start mysqld: through the loader that came with it,
// because this machine's C library is older than the one it was made for.
func mysqlProgram(root string) []string {
	lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	return []string{
		filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib, filepath.Join(root, "usr/sbin/mysqld"),
		"--no-defaults", "--user=root", "--basedir=" + filepath.Join(root, "usr"),
		"--lc-messages-dir=" + filepath.Join(root, "usr/share/mysql"),
		"--character-sets-dir=" + filepath.Join(root, "usr/share/mysql/charsets"),
		"--plugin-dir=" + filepath.Join(root, "usr/lib/mysql/plugin"), "--secure-file-priv=NULL", "--mysqlx=OFF",
	}
}

// mysqlArgs returns a server's command line; see mariadbArgs.
func mysqlArgs(root string, s *Server) []string {
	return append(mysqlProgram(root),
		"--datadir="+s.DataDir, "--socket="+s.Socket, "--pid-file="+s.PIDFile, "--log-error="+s.ErrLog,
		"--bind-address="+s.IP, "--port="+strconv.Itoa(s.Port), "--report-host="+s.IP, "--report-port="+strconv.Itoa(s.Port),
		"--server-id="+strconv.Itoa(s.ID), "--skip-name-resolve", "--super-read-only=ON", "--relay-log-recovery=ON",
		"--log-bin=bin", "--relay-log=relay", "--log-replica-updates=ON",
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--replica-net-timeout=4",
		"--plugin-load-add=semisync_source.so;semisync_replica.so;mysql_clone.so",
		"--loose-rpl-semi-sync-replica-enabled=ON", "--loose-rpl-semi-sync-source-timeout="+never,
		"--loose-rpl-semi-sync-source-wait-point=AFTER_SYNC", "--loose-rpl-semi-sync-source-wait-no-replica=ON",
		"--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=32M", "--innodb-doublewrite=OFF", // no power fails here; reading the file costs half a second
		// A small performance schema: a large one costs a second of processor time at each start.
		"--performance-schema=ON", "--table-open-cache=200", "--table-definition-cache=400",
		"--performance-schema-digests-size=50", "--performance-schema-error-size=10", "--performance-schema-max-program-instances=0",
		"--performance-schema-accounts-size=5", "--performance-schema-users-size=5", "--performance-schema-hosts-size=5",
		"--performance-schema-events-statements-history-long-size=10", "--performance-schema-events-waits-history-long-size=10",
		"--performance-schema-events-stages-history-long-size=10", "--performance-schema-events-transactions-history-long-size=10",
		"--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--max-connections=200",
	)
}
