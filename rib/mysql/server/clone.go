package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Clone destroys the data of a MySQL and takes a copy of the source's, whose account needs
// BACKUP_ADMIN there. It returns when the copy is complete; the server then restarts by
// itself under a supervisor, and has stopped without one: it is to be started. Settings in
// files stay its own. MariaDB cannot (errors.ErrUnsupported); it has mariadb-backup.
//
// What can take long is bounded by ctx alone: a server whose ctx has ended still clones.
func (s *Server) Clone(ctx context.Context, src Source) error {
	err := s.with(ctx, fmt.Sprintf("clone %s:%d", src.Host, src.Port), func(x *session) error {
		if x.d.flavour != gtid.MySQL {
			return fmt.Errorf("mariadb has no clone plugin: %w", errors.ErrUnsupported)
		}
		if err := x.clonePlugin(ctx); err != nil {
			return err
		}
		donor := net.JoinHostPort(src.Host, strconv.Itoa(src.Port))
		if _, err := x.ExecContext(ctx, "SET GLOBAL clone_valid_donor_list=?", donor); err != nil {
			return err
		}
		q := "CLONE INSTANCE FROM ?@?:" + strconv.Itoa(src.Port) + " IDENTIFIED BY ? REQUIRE NO SSL"
		if src.TLS {
			q = "CLONE INSTANCE FROM ?@?:" + strconv.Itoa(src.Port) + " IDENTIFIED BY ? REQUIRE SSL"
		}
		// super_read_only keeps even an administrator from it; read_only stays.
		if err := x.do(ctx, x.d.half...); err != nil {
			return err
		}
		_, err := x.ExecContext(ctx, q, src.User, src.Host, src.Password)
		if err != nil && code(err) != errRestartFailed {
			err = errors.Join(hide(err, src.Password), x.do(ctx, x.d.closed...))
		}
		return err
	})
	if code(err) == errRestartFailed {
		return nil
	}
	return err
}

// ClonePlugin loads the clone plugin, which the source of a copy needs as well.
func (s *Server) ClonePlugin(ctx context.Context) error {
	return s.with(ctx, "load the clone plugin", func(x *session) error { return x.clonePlugin(ctx) })
}

func (x *session) clonePlugin(ctx context.Context) error {
	if x.d.flavour != gtid.MySQL {
		return fmt.Errorf("mariadb has no clone plugin: %w", errors.ErrUnsupported)
	}
	v, err := x.value(ctx, "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name='clone' AND plugin_status='ACTIVE'")
	if err != nil || v == "1" {
		return err
	}
	super, err := x.value(ctx, "SELECT @@GLOBAL.super_read_only")
	if err != nil {
		return err
	}
	if on(super) {
		if err := x.do(ctx, x.d.half...); err != nil {
			return err
		}
	}
	err = x.do(ctx, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	if on(super) {
		err = first(err, x.do(ctx, x.d.closed...))
	}
	return err
}
