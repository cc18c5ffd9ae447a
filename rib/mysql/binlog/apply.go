package binlog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Apply executes transactions on the server of a session, under their own GTIDs and into its
// binary log, and returns how many it executed. What the server has already is passed over,
// so that all may be given again. A transaction is there as a whole or not at all; an
// error, its own or one from txs, leaves those before it.
//
// The account needs all privileges of a replica's applier (SUPER, or BINLOG ADMIN and REPLICATION
// APPLIER; MariaDB BINLOG REPLAY); read_only may be on. MySQL's super_read_only is switched off
// meanwhile, with read_only on. On MariaDB replication must be stopped: gtid_slave_pos is set to
// what the server has, so that it can go on from there as a replica.
//
// The session is at its end afterwards; the connection is taken out of its pool.
func Apply(ctx context.Context, conn *sql.Conn, flavour string, txs iter.Seq2[Transaction, error]) (n int, err error) {
	a := &applier{conn: conn, flavour: flavour}
	defer func() {
		err = errors.Join(err, a.end(ctx))
	}()
	if err := a.look(ctx); err != nil {
		return 0, err
	}
	r := newReplay(flavour, true, func(statement string) error { return a.exec(ctx, statement) })
	r.most = a.packet
	for t, err := range txs {
		if err != nil {
			return n, err
		}
		if a.have.Contains(t.GTID) {
			continue
		}
		if err := a.begin(ctx); err != nil {
			return n, err
		}
		if err := r.transaction(t); err != nil {
			return n, fmt.Errorf("apply transaction %s: %w", t.GTID, err)
		}
		a.have = a.have.Union(t.GTID)
		n++
	}
	return n, nil
}

type applier struct {
	conn    *sql.Conn
	flavour string
	have    gtid.Set
	packet  int
	begun   bool
	super   bool // super_read_only was on
}

func (a *applier) exec(ctx context.Context, statement string) error {
	const show = 60
	_, err := a.conn.ExecContext(ctx, statement)
	if err != nil {
		return fmt.Errorf("%.*q: %w", show, statement, err)
	}
	return nil
}

// look asks what the server has.
func (a *applier) look(ctx context.Context) error {
	columns := "@@global.gtid_executed, ''"
	if a.flavour == gtid.MariaDB {
		columns = "@@global.gtid_binlog_pos, @@global.gtid_slave_pos"
	}
	var one, two string
	row := a.conn.QueryRowContext(ctx, "SELECT "+columns+", @@global.max_allowed_packet")
	if err := row.Scan(&one, &two, &a.packet); err != nil {
		return fmt.Errorf("ask the server which transactions it has: %w", err)
	}
	first, err := gtid.Parse(a.flavour, one)
	if err != nil {
		return err
	}
	second, err := gtid.Parse(a.flavour, two)
	a.have = first.Union(second)
	return err
}

// begin makes the server ready, before the first transaction that it lacks.
func (a *applier) begin(ctx context.Context) error {
	if a.begun {
		return nil
	}
	if a.flavour == gtid.MariaDB {
		err := a.position(ctx)
		a.begun = err == nil
		return err
	}
	a.begun = true
	if err := a.conn.QueryRowContext(ctx, "SELECT @@global.super_read_only").Scan(&a.super); err != nil {
		return fmt.Errorf("ask the server whether it is closed: %w", err)
	}
	if a.super {
		return a.exec(ctx, "SET GLOBAL super_read_only=OFF")
	}
	return nil
}

// position sets MariaDB's position as a replica to what is there.
func (a *applier) position(ctx context.Context) error {
	if err := a.look(ctx); err != nil {
		return err
	}
	if err := a.exec(ctx, fmt.Sprintf("SET GLOBAL gtid_slave_pos='%s'", a.have.Position())); err != nil {
		return fmt.Errorf("replication must be stopped while transactions are applied: %w", err)
	}
	return nil
}

// end leaves the server as it was, also when ctx is over, and ends the session.
func (a *applier) end(ctx context.Context) error {
	const within = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	var err error
	if a.begun {
		err = a.exec(ctx, "ROLLBACK")
		if a.flavour == gtid.MariaDB {
			err = errors.Join(err, a.position(ctx))
		} else {
			err = errors.Join(err, a.exec(ctx, "SET @@session.gtid_next='AUTOMATIC'"))
			if a.super {
				err = errors.Join(err, a.exec(ctx, "SET GLOBAL super_read_only=ON"))
			}
		}
	}
	if e := a.conn.Raw(func(any) error { return driver.ErrBadConn }); e != nil && !errors.Is(e, driver.ErrBadConn) && !errors.Is(e, sql.ErrConnDone) {
		err = errors.Join(err, e)
	}
	return err
}
