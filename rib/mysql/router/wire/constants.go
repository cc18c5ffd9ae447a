// Package wire has what the router needs of the MySQL client/server protocol: packets, a
// follower that knows from watching when a connection is between commands and between
// transactions, and both sides of a login.
//
// Sources: MySQL Internals "Client/Server Protocol"; MariaDB Knowledge Base "Clients &
// Utilities / Client-Server Protocol".
package wire

// MaxPayload is the payload of a packet that is continued by another, in bytes.
const MaxPayload = 1<<24 - 1

// Capabilities of a client or server, negotiated at login.
const (
	CapLongPassword  = 1 << 0 // MySQL; MariaDB leaves it out to announce its own extended ones
	CapFoundRows     = 1 << 1
	CapLongFlag      = 1 << 2
	CapConnectWithDB = 1 << 3
	CapCompress      = 1 << 5
	CapLocalFiles    = 1 << 7
	CapIgnoreSpace   = 1 << 8
	CapProtocol41    = 1 << 9
	CapInteractive   = 1 << 10
	CapTLS           = 1 << 11
	CapTransactions  = 1 << 13
	CapSecure        = 1 << 15
	CapMultiStmts    = 1 << 16
	CapMultiResults  = 1 << 17
	CapPSMulti       = 1 << 18
	CapPluginAuth    = 1 << 19
	CapAttributes    = 1 << 20
	CapLenencAuth    = 1 << 21
	CapTrack         = 1 << 23 // CLIENT_SESSION_TRACK
	CapNoEOF         = 1 << 24 // CLIENT_DEPRECATE_EOF
	CapOptionalMeta  = 1 << 25
	CapZstd          = 1 << 26
	CapMariaMeta     = 1 << 36 // MARIADB_CLIENT_CACHE_METADATA
)

// Flags of a server's state, in OK and EOF packets.
const (
	StatusInTrans  = 1 << 0
	StatusAuto     = 1 << 1 // autocommit
	StatusMore     = 1 << 3 // another result follows
	StatusCursor   = 1 << 6
	StatusLastRow  = 1 << 7
	StatusSessions = 1 << 14 // session state changed: the OK packet says how
)

// Commands.
const (
	ComQuit        = 0x01
	ComInitDB      = 0x02
	ComQuery       = 0x03
	ComFieldList   = 0x04
	ComStatistics  = 0x09
	ComProcessInfo = 0x0a
	ComChangeUser  = 0x11
	ComBinlogDump  = 0x12
	ComTableDump   = 0x13
	ComRegister    = 0x15
	ComPrepare     = 0x16
	ComExecute     = 0x17
	ComLongData    = 0x18
	ComStmtClose   = 0x19
	ComStmtReset   = 0x1a
	ComSetOption   = 0x1b
	ComFetch       = 0x1c
	ComDumpGTID    = 0x1e
	ComReset       = 0x1f
	ComBulkExecute = 0xfa // MariaDB
)

// First bytes of answers.
const (
	headOK    = 0x00
	headMore  = 0x01
	headLocal = 0xfb
	headEOF   = 0xfe
	headErr   = 0xff
)
