package mysql

import (
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
)

// proofs numbers the rows that prove replication.
var proofs atomic.Int64

// Bed is a primary and replicas.
type Bed struct {
	Servers []*Server // the first was made the primary
}

// Topology starts n servers of a flavour. The first is the primary and open for writes; the
// others replicate from it by GTID, with lossless semi-synchronous replication, proven by a
// row. o[i] are the options of server i, and those of the last count for further ones, but
// for its Host, Port, ID, Dir and Name.
func Topology(t testing.TB, flavour string, n int, o ...Options) *Bed {
	t.Helper()
	b := &Bed{}
	for i := range n {
		var so Options
		switch {
		case i < len(o):
			so = o[i]
		case len(o) > 0:
			so = Options{Args: o[len(o)-1].Args}
		}
		if flavour == FlavourMySQL {
			b.Servers = append(b.Servers, startMySQL(t, so))
		} else {
			b.Servers = append(b.Servers, startMariaDB(t, so))
		}
	}
	for _, s := range b.Servers {
		s.await(t)
	}
	p := b.Servers[0]
	p.SemiSync(t, n > 1)
	p.Writable(t, true)
	for _, r := range b.Servers[1:] {
		r.Follow(t, p)
	}
	b.Prove(t, p)
	return b
}

// Primary returns the first server, which was the primary to begin with.
func (b *Bed) Primary() *Server { return b.Servers[0] }

// Replicas returns the others.
func (b *Bed) Replicas() []*Server { return b.Servers[1:] }

// Prove writes a row to the primary p and waits until every server that runs has it.
func (b *Bed) Prove(t testing.TB, p *Server) {
	t.Helper()
	id := time.Now().UnixMicro()<<8 + proofs.Add(1)&0xff
	p.Exec(t, fmt.Sprintf("INSERT INTO app.proof VALUES (%d)", id))
	for _, s := range b.Servers {
		if s.PID() == 0 {
			continue
		}
		lab.Eventually(t, s.Name+" has what "+p.Name+" wrote", func() bool {
			return s.Value(t, "SELECT COUNT(*) FROM app.proof WHERE id = ?", id) == "1"
		})
	}
}

// Follow makes the server replicate from another by GTID; it becomes read-only.
func (s *Server) Follow(t testing.TB, source *Server) {
	t.Helper()
	s.Writable(t, false)
	s.SemiSync(t, false)
	if s.Flavour == FlavourMySQL {
		s.Exec(t, "STOP REPLICA",
			fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='%s', SOURCE_PASSWORD='%s', "+
				"SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=0, SOURCE_HEARTBEAT_PERIOD=0.5, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
				source.IP, source.Port, UserRepl, PasswordRepl),
			"START REPLICA")
	} else {
		s.Exec(t, "STOP SLAVE",
			fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', "+
				"MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=0.5, MASTER_USE_GTID=slave_pos", source.IP, source.Port, UserRepl, PasswordRepl),
			"START SLAVE")
	}
	lab.Eventually(t, s.Name+" receives from "+source.Name, func() bool {
		st := s.Replica(t)
		return st["Slave_IO_Running"]+st["Replica_IO_Running"] == "Yes"
	})
}

// Promote makes the server a primary by hand: it applies what it has received, replicates
// from nobody, waits for acknowledgements of replicas when lossless is set, and opens.
func (s *Server) Promote(t testing.TB, lossless bool) {
	t.Helper()
	w := words(s.Flavour)
	s.Exec(t, "STOP "+w.replica+" IO_THREAD")
	s.Drain(t)
	s.Exec(t, "STOP "+w.replica, "RESET "+w.replica+" ALL")
	s.SemiSync(t, lossless)
	s.Writable(t, true)
}

// Drain waits until all that was received is applied.
func (s *Server) Drain(t testing.TB) {
	t.Helper()
	lab.Eventually(t, s.Name+" has applied what it received", func() bool {
		st := s.Replica(t)
		if s.Flavour == FlavourMySQL {
			return st["Retrieved_Gtid_Set"] == "" || s.Value(t, "SELECT GTID_SUBSET(?, @@gtid_executed)", st["Retrieved_Gtid_Set"]) == "1"
		}
		return st["Gtid_IO_Pos"] == "" || st["Gtid_IO_Pos"] == s.Value(t, "SELECT @@gtid_slave_pos")
	})
}

// SemiSync switches waiting for acknowledgements on or off.
func (s *Server) SemiSync(t testing.TB, waits bool) {
	t.Helper()
	s.Exec(t, fmt.Sprintf("SET GLOBAL rpl_semi_sync_%s_enabled=%t", words(s.Flavour).source, waits))
}

// Writable opens or closes the server for writes.
func (s *Server) Writable(t testing.TB, open bool) {
	t.Helper()
	switch {
	case s.Flavour == FlavourMariaDB:
		s.Exec(t, fmt.Sprintf("SET GLOBAL read_only=%t", !open))
	case open:
		s.Exec(t, "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
	default:
		s.Exec(t, "SET GLOBAL super_read_only=ON")
	}
}

// Replica returns the row of SHOW REPLICA STATUS by column, under the flavour's own names;
// empty when the server replicates from nobody.
func (s *Server) Replica(t testing.TB) map[string]string {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), "SHOW "+words(s.Flavour).replica+" STATUS")
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err has it
	out := map[string]string{}
	columns, err := rows.Columns()
	if err == nil && rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		err = rows.Scan(into...)
		for i, c := range columns {
			out[c] = values[i].String
		}
	}
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		t.Fatalf("%s: replica status: %v", s.Name, err)
	}
	return out
}

// dialect has the words that differ.
type dialect struct{ replica, source string }

func words(flavour string) dialect {
	if flavour == FlavourMySQL {
		return dialect{replica: "REPLICA", source: "source"}
	}
	return dialect{replica: "SLAVE", source: "master"}
}

// Has reports whether the server's table app.acks has a row.
func (s *Server) Has(t testing.TB, id int64) bool {
	t.Helper()
	return strings.TrimSpace(s.Value(t, "SELECT COUNT(*) FROM app.acks WHERE id = ?", id)) == "1"
}
