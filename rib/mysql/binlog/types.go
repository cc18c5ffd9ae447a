package binlog

import "fmt"

// Type is the type of an event, as in the header of each.
type Type byte

// The types of events that matter here; those from 160 are MariaDB's.
const (
	typeQuery       Type = 2
	typeIntVar      Type = 5
	typeRand        Type = 13
	typeUserVar     Type = 14
	typeFormat      Type = 15
	typeXID         Type = 16
	typeBeginLoad   Type = 17
	typeExecuteLoad Type = 18
	typeTableMap    Type = 19
	typeWriteV1     Type = 23
	typeUpdateV1    Type = 24
	typeDeleteV1    Type = 25
	typeIncident    Type = 26
	typeRowsQuery   Type = 29
	typeWriteV2     Type = 30
	typeUpdateV2    Type = 31
	typeDeleteV2    Type = 32
	typeGTID        Type = 33
	typeAnonymous   Type = 34
	typePrevious    Type = 35
	typeXAPrepare   Type = 38
	typePartial     Type = 39
	typePayload     Type = 40
	typeTagged      Type = 42 // the last of MySQL's

	typeAnnotate     Type = 160
	typeMariaGTID    Type = 162
	typeGTIDList     Type = 163
	typeEncryption   Type = 164
	typeQueryPacked  Type = 165
	typeWritePacked  Type = 166
	typeUpdatePacked Type = 167
	typeDeletePacked Type = 168 // the last of MariaDB's
)

// String names the type in the words of the servers' sources, or by its number.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", byte(t))
}

var typeNames = map[Type]string{
	typeQuery: "query", typeIntVar: "intvar", typeRand: "rand", typeUserVar: "user var", typeFormat: "format description",
	typeXID: "xid", typeBeginLoad: "begin load query", typeExecuteLoad: "execute load query", typeTableMap: "table map",
	typeWriteV1: "write rows v1", typeUpdateV1: "update rows v1", typeDeleteV1: "delete rows v1", typeIncident: "incident",
	typeRowsQuery: "rows query", typeWriteV2: "write rows", typeUpdateV2: "update rows", typeDeleteV2: "delete rows",
	typeGTID: "gtid", typeAnonymous: "anonymous gtid", typePrevious: "previous gtids", typeXAPrepare: "xa prepare",
	typePartial: "partial update rows", typePayload: "transaction payload", typeTagged: "gtid tagged", typeAnnotate: "annotate rows",
	typeMariaGTID: "gtid (mariadb)", typeGTIDList: "gtid list", typeEncryption: "start encryption", typeQueryPacked: "query compressed",
	typeWritePacked: "write rows compressed", typeUpdatePacked: "update rows compressed", typeDeletePacked: "delete rows compressed",
}

// known reports whether there are events of a type.
func (t Type) known() bool {
	return t > 0 && t <= typeTagged || t >= typeAnnotate && t <= typeDeletePacked
}

// Flags of the header of an event.
const (
	flagInUse          = 0x0001
	flagThreadSpecific = 0x0004
	flagSuppressUse    = 0x0008
	flagRelay          = 0x0040
)
