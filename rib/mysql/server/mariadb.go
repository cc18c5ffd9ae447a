package server

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

var mariadbDialect = dialect{
	flavour: gtid.MariaDB, replica: "SLAVE",
	channels: mariadbChannels, executed: mariadbExecuted, purged: mariadbPurged, own: mariadbOwn, state: mariadbState,
	of: func(name string) (string, string) {
		if name == "" {
			return "", ""
		}
		return " " + literal(name), ""
	},
	restartLoses: true, slowStop: true,
	change:     mariadbChange,
	closed:     []string{"SET GLOBAL read_only=1"},
	half:       []string{"SET GLOBAL read_only=1"},
	open:       []string{"SET GLOBAL read_only=0"},
	quiet:      []string{"SET SESSION sql_log_off=1", "SET SESSION slow_query_log=0"},
	loud:       []string{"SET SESSION sql_log_off=0", "SET SESSION slow_query_log=DEFAULT"},
	netTimeout: "slave_net_timeout",
	hosts:      "SHOW SLAVE HOSTS",
}

func mariadbChannels(ctx context.Context, x *session) ([]channel, error) {
	rows, err := x.rows(ctx, "SHOW ALL SLAVES STATUS")
	if err != nil {
		return nil, err
	}
	var out []channel
	for _, r := range rows {
		received, err := x.set(r["gtid_io_pos"])
		if err != nil {
			return nil, err
		}
		lag, known := r["seconds_behind_master"]
		out = append(out, channel{
			name: r["connection_name"], source: net.JoinHostPort(r["master_host"], r["master_port"]),
			receiver: r["slave_io_running"], recvErr: r["last_io_error"],
			applying: on(r["slave_sql_running"]), applyErr: r["last_sql_error"],
			lag: seconds(lag, known), delay: seconds(r["sql_delay"], true),
			byGTID: r["using_gtid"] != "No", filtered: filtered(r), received: received,
			marks: strings.Join([]string{r["slave_received_heartbeats"], r["gtid_io_pos"], r["master_log_file"], r["read_master_log_pos"]}, " "),
		})
	}
	return out, nil
}

// mariadbExecuted is what was replicated, and what the server wrote itself. What is in
// gtid_binlog_pos but came from another server is not committed yet, or is in
// gtid_slave_pos too.
func mariadbExecuted(ctx context.Context, x *session) (gtid.Set, error) {
	v, err := x.value(ctx, "SELECT @@GLOBAL.gtid_current_pos")
	if err != nil {
		return gtid.Set{}, err
	}
	return x.set(v)
}

// mariadbPurged is where the oldest binary log begins.
func mariadbPurged(ctx context.Context, x *session) (string, error) {
	logs, err := x.rows(ctx, "SHOW BINARY LOGS")
	if err != nil || len(logs) == 0 {
		return "", err
	}
	return x.value(ctx, "SELECT BINLOG_GTID_POS(?, 4)", logs[0]["log_name"])
}

// mariadbOwn takes the entries of this server from the state of its binary log.
func mariadbOwn(ctx context.Context, x *session) (string, error) {
	var state, id string
	if err := x.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_state, @@GLOBAL.server_id").Scan(&state, &id); err != nil {
		return "", err
	}
	var own []string
	for one := range strings.SplitSeq(state, ",") {
		if p := strings.Split(strings.TrimSpace(one), "-"); len(p) == 3 && p[1] == id {
			own = append(own, strings.TrimSpace(one))
		}
	}
	return strings.Join(own, ","), nil
}

func mariadbState(ctx context.Context, x *session) (binlog, applied string, err error) {
	err = x.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos").Scan(&binlog, &applied)
	return binlog, applied, err
}

func mariadbChange(name string, src Source) (string, []any) {
	if name != "" {
		name = " " + literal(name)
	}
	q := "CHANGE MASTER" + name + " TO MASTER_HOST=?, MASTER_PORT=?, MASTER_USER=?, MASTER_PASSWORD=?, MASTER_CONNECT_RETRY=1, " +
		fmt.Sprintf("MASTER_HEARTBEAT_PERIOD=%.1f, MASTER_USE_GTID=slave_pos, MASTER_SSL=?", Heartbeat.Seconds())
	args := []any{src.Host, src.Port, src.User, src.Password, yes(src.TLS)}
	if src.TLS && src.CA != "" {
		q += ", MASTER_SSL_CA=?, MASTER_SSL_VERIFY_SERVER_CERT=1"
		args = append(args, src.CA)
	}
	return q, args
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Heartbeat is the time between signs of life that a replica asks of its source.
const Heartbeat = 500 * time.Millisecond
