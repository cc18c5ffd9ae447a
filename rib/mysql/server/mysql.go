package server

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
)

var mysqlDialect = dialect{
	flavour: gtid.MySQL, replica: "REPLICA",
	channels: mysqlChannels, executed: mysqlExecuted, purged: mysqlPurged, own: mysqlOwn,
	of: func(name string) (string, string) { return "", " FOR CHANNEL " + literal(name) },

	change: mysqlChange,
	closed: []string{"SET GLOBAL super_read_only=1"}, // read_only with it
	half:   []string{"SET GLOBAL read_only=1", "SET GLOBAL super_read_only=0"},
	open:   []string{"SET GLOBAL read_only=0", "SET GLOBAL offline_mode=0"}, // super_read_only with it
	cut:    []string{"SET GLOBAL offline_mode=1"},
	uncut:  []string{"SET GLOBAL offline_mode=0"},

	netTimeout: "replica_net_timeout",
	hosts:      "SHOW REPLICAS",
}

func mysqlChannels(ctx context.Context, x *session) ([]channel, error) {
	rows, err := x.rows(ctx, "SHOW REPLICA STATUS")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	beats, err := x.rows(ctx, "SELECT channel_name, count_received_heartbeats AS n FROM performance_schema.replication_connection_status")
	if err != nil {
		return nil, err
	}
	count := map[string]string{}
	for _, b := range beats {
		count[b["channel_name"]] = b["n"]
	}
	var out []channel
	for _, r := range rows {
		name := r["channel_name"]
		if strings.HasPrefix(name, "group_replication_") {
			continue
		}
		received, err := x.set(r["retrieved_gtid_set"])
		if err != nil {
			return nil, err
		}
		trouble := r["last_sql_error"]
		if trouble != "" { // with several workers it only says where to look
			why, err := x.value(ctx, "SELECT MAX(last_error_message) FROM performance_schema.replication_applier_status_by_worker WHERE channel_name=? AND last_error_number<>0", name)
			if err != nil {
				return nil, err
			}
			trouble = cmp.Or(why, trouble)
		}
		lag, known := r["seconds_behind_source"]
		out = append(out, channel{
			name: name, source: net.JoinHostPort(r["source_host"], r["source_port"]),
			receiver: r["replica_io_running"], recvErr: r["last_io_error"],
			applying: on(r["replica_sql_running"]), applyErr: trouble,
			lag: seconds(lag, known), delay: seconds(r["sql_delay"], true),
			byGTID: r["auto_position"] == "1", filtered: filtered(r), received: received,
			marks: strings.Join([]string{count[name], r["retrieved_gtid_set"], r["source_log_file"], r["read_source_log_pos"]}, " "),
		})
	}
	return out, nil
}

func mysqlExecuted(ctx context.Context, x *session) (gtid.Set, error) {
	v, err := x.value(ctx, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return gtid.Set{}, err
	}
	return x.set(v)
}

func mysqlPurged(ctx context.Context, x *session) (string, error) {
	return x.value(ctx, "SELECT @@GLOBAL.gtid_purged")
}

// mysqlOwn takes what has this server's uuid from what is executed.
func mysqlOwn(ctx context.Context, x *session) (string, error) {
	var all, uuid string
	if err := x.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.server_uuid").Scan(&all, &uuid); err != nil {
		return "", err
	}
	var own []string
	for one := range strings.SplitSeq(all, ",") {
		if one = strings.TrimSpace(one); strings.HasPrefix(strings.ToLower(one), strings.ToLower(uuid)) {
			own = append(own, one)
		}
	}
	return strings.Join(own, ","), nil
}

func mysqlChange(name string, src Source) (string, []any) {
	// A retry count of 0 is without end; the default of 8.4 gives up after 10.
	q := "CHANGE REPLICATION SOURCE TO SOURCE_HOST=?, SOURCE_PORT=?, SOURCE_USER=?, SOURCE_PASSWORD=?, SOURCE_CONNECT_RETRY=1, " +
		fmt.Sprintf("SOURCE_RETRY_COUNT=0, SOURCE_HEARTBEAT_PERIOD=%.1f, SOURCE_AUTO_POSITION=1, SOURCE_SSL=?, GET_SOURCE_PUBLIC_KEY=?", Heartbeat.Seconds())
	args := []any{src.Host, src.Port, src.User, src.Password, yes(src.TLS), yes(!src.TLS)}
	if src.TLS && src.CA != "" {
		q += ", SOURCE_SSL_CA=?, SOURCE_SSL_VERIFY_SERVER_CERT=1"
		args = append(args, src.CA)
	}
	return q + " FOR CHANNEL " + literal(name), args
}
