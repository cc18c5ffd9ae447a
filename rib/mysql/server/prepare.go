package server

import (
	"context"
	"fmt"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Prepare makes the server fit for a topology as far as that can be done while it runs, and
// says what it did, which is nothing the second time. On a server that is open for writes
// it makes the schema kaname, which the others get by replication. What has to stand in the
// server's configuration file Check says.
func (s *Server) Prepare(ctx context.Context) (notes []string, err error) {
	err = s.with(ctx, "prepare", func(x *session) error {
		p := &preparation{x: x}
		if p.vars, err = x.variables(ctx); err != nil {
			return err
		}
		steps := []func(context.Context) error{p.netTimeout, p.schema}
		if x.d.flavour == gtid.MySQL {
			steps = append(steps, p.plugins, p.startsClosed)
		} else {
			steps = append(steps, p.killTimeout)
		}
		for _, step := range steps {
			if err := step(ctx); err != nil {
				notes = p.notes
				return err
			}
		}
		notes = p.notes
		return nil
	})
	return notes, err
}

type preparation struct {
	x     *session
	vars  row
	notes []string
}

func (p *preparation) did(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

func (p *preparation) netTimeout(ctx context.Context) error {
	name, most := p.x.d.netTimeout, int64(NetTimeout.Seconds())
	if number(p.vars[name]) <= most {
		return nil
	}
	if err := p.x.do(ctx, fmt.Sprintf("SET GLOBAL %s=%d", name, most)); err != nil {
		return err
	}
	p.did("set %s=%d until the next restart; put it into the configuration file as well", name, most)
	return nil
}

// killTimeout bounds how long a receiver takes to end when its source is silent.
func (p *preparation) killTimeout(ctx context.Context) error {
	if number(p.vars["rpl_semi_sync_replica_kill_conn_timeout"]) == 1 {
		return nil
	}
	if err := p.x.do(ctx, "SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout=1"); err != nil {
		return err
	}
	p.did("set rpl_semi_sync_slave_kill_conn_timeout=1 until the next restart")
	return nil
}

// schema makes the schema kaname where it can be written: each statement would be an errant
// transaction on a replica.
func (p *preparation) schema(ctx context.Context) error {
	if closedFor(p.vars) {
		return nil
	}
	have, err := p.x.value(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='kaname' AND table_name IN ('epoch','beat')")
	if err != nil || have == "2" {
		return err
	}
	if err := p.x.do(ctx, schema...); err != nil {
		return err
	}
	p.did("made the schema kaname with the tables epoch and beat")
	return nil
}

// plugins loads semi-synchronous replication, for good.
func (p *preparation) plugins(ctx context.Context) error {
	w, err := p.x.words(ctx)
	if err != nil || w != nil {
		return err
	}
	// super_read_only keeps even an administrator from it; read_only stays.
	super := on(p.vars["super_read_only"])
	if super {
		if err := p.x.do(ctx, p.x.d.half...); err != nil {
			return err
		}
	}
	err = p.install(ctx)
	if super {
		err = first(err, p.x.do(ctx, p.x.d.closed...))
	}
	if err != nil {
		return err
	}
	p.did("loaded the plugins of semi-synchronous replication; they stay loaded over restarts")
	return nil
}

// install takes the names since 8.0.26, or the old ones.
func (p *preparation) install(ctx context.Context) error {
	have, err := p.x.rows(ctx, "SELECT plugin_name FROM information_schema.plugins WHERE plugin_name LIKE 'rpl\\_semi\\_sync\\_%'")
	if err != nil {
		return err
	}
	loaded := map[string]bool{}
	for _, r := range have {
		loaded[modern(r["plugin_name"])] = true
	}
	for _, role := range [][2]string{{"source", "master"}, {"replica", "slave"}} {
		if loaded["rpl_semi_sync_"+role[0]] {
			continue
		}
		err := p.x.do(ctx, plugin(role[0]))
		if code(err) == errNoLibrary {
			err = p.x.do(ctx, plugin(role[1]))
		}
		if err != nil && code(err) != errPluginExists && code(err) != errPluginHere {
			return err
		}
	}
	return nil
}

func plugin(role string) string {
	return fmt.Sprintf("INSTALL PLUGIN rpl_semi_sync_%s SONAME 'semisync_%s.so'", role, role)
}

// startsClosed makes the server read-only at each start, so that one which comes back does
// not take writes before it is told that it is still the primary.
func (p *preparation) startsClosed(ctx context.Context) error {
	v, err := p.x.value(ctx, "SELECT COUNT(*) FROM performance_schema.persisted_variables WHERE variable_name='super_read_only' AND variable_value='ON'")
	if err != nil || v == "1" {
		return err
	}
	if err := p.x.do(ctx, "SET PERSIST_ONLY super_read_only=ON"); err != nil {
		return err
	}
	p.did("persisted super_read_only=ON, so that each start begins closed for writes")
	return nil
}
