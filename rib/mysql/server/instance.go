package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Instance is what a copy of a server's data must know of it.
type Instance struct {
	Flavour string
	Version string // major.minor, "10.11": data move between servers of the same only
	DataDir string // absolute
	// Logs are the paths of binary and relay logs without their numbers. Logs are no part
	// of a copy.
	Logs []string
	// Elsewhere names the settings that have data outside of DataDir.
	Elsewhere []string
}

// Instance asks the server what it is and where its data are.
func (s *Server) Instance(ctx context.Context) (Instance, error) {
	var i Instance
	err := s.with(ctx, "ask where its data are", func(x *session) error {
		vars, err := x.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version','datadir','log_bin_basename','relay_log_basename',"+
			"'innodb_data_home_dir','innodb_log_group_home_dir','innodb_undo_directory','aria_log_dir_path')")
		if err != nil {
			return err
		}
		i.Flavour, i.Version, i.DataDir = x.d.flavour, MajorMinor(vars["version"]), filepath.Clean(vars["datadir"])
		if i.Version == "" || !filepath.IsAbs(i.DataDir) {
			return fmt.Errorf("version %q with data in %q is not understood", vars["version"], vars["datadir"])
		}
		for _, name := range []string{"log_bin_basename", "relay_log_basename"} {
			if vars[name] != "" {
				i.Logs = append(i.Logs, vars[name])
			}
		}
		for _, name := range []string{"innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory", "aria_log_dir_path"} {
			if dir := vars[name]; filepath.IsAbs(dir) && !strings.HasPrefix(filepath.Clean(dir)+"/", i.DataDir+"/") {
				i.Elsewhere = append(i.Elsewhere, name)
			}
		}
		return nil
	})
	return i, err
}

// MajorMinor returns "10.11" of "10.11.19-MariaDB-log", "" of what is no version.
func MajorMinor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 || slices.ContainsFunc(parts[:2], func(p string) bool { return p == "" || strings.Trim(p, "0123456789") != "" }) {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// Shutdown has the server end in an orderly way. It returns when the server has taken it
// up, not when it is gone. See SHUTDOWN in the manuals.
func (s *Server) Shutdown(ctx context.Context) error {
	return s.with(ctx, "shut it down", func(x *session) error { return x.do(ctx, "SHUTDOWN") })
}

// Land makes a MariaDB whose data are a copy of another's begin to replicate behind the GTID
// position that they have. Binary logs that its former data left go. It must replicate from
// nobody.
func (s *Server) Land(ctx context.Context, position string) error {
	return s.with(ctx, "say which position its data have", func(x *session) error {
		if x.d.flavour != gtid.MariaDB {
			return fmt.Errorf("a mysql knows the position of its data: %w", errors.ErrUnsupported)
		}
		pos, err := x.set(position)
		if err != nil {
			return err
		}
		state, err := x.value(ctx, "SELECT @@GLOBAL.gtid_binlog_state")
		if err != nil {
			return err
		}
		if state != "" { // what it wrote before would contradict the position
			if err := x.do(ctx, "RESET MASTER"); err != nil {
				return err
			}
		}
		_, err = x.ExecContext(ctx, "SET GLOBAL gtid_slave_pos=?", pos.Position().String())
		return err
	})
}

// ErrNoBackupAdmin is in the error of CanDonate; it names the account.
var ErrNoBackupAdmin = errors.New("has not the privilege BACKUP_ADMIN")

// CanDonate loads the clone plugin, which the source of a copy needs, and reports whether
// the account may take one: ErrNoBackupAdmin if not.
func (s *Server) CanDonate(ctx context.Context) error {
	return s.with(ctx, "prepare it as the source of a copy", func(x *session) error {
		if err := x.clonePlugin(ctx); err != nil {
			return err
		}
		rows, err := x.rows(ctx, "SHOW GRANTS")
		if err != nil {
			return err
		}
		for _, r := range rows {
			for _, grant := range r {
				if strings.Contains(grant, "BACKUP_ADMIN") && strings.Contains(grant, "ON *.*") {
					return nil
				}
			}
		}
		who, err := x.value(ctx, "SELECT CURRENT_USER()")
		if err != nil {
			return err
		}
		return fmt.Errorf("account %s %w", account(who), ErrNoBackupAdmin)
	})
}

// account quotes user@host as GRANT wants it.
func account(who string) string {
	at := strings.LastIndexByte(who, '@')
	if at < 0 {
		return literal(who)
	}
	return literal(who[:at]) + "@" + literal(who[at+1:])
}
