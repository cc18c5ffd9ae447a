package topology

import (
	"strconv"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Report is what the agent of a member's host sees. It is sent to the controller at each
// change and at least each Beat. Durations are ages when it was sent: clocks of hosts
// are never compared.
type Report struct {
	Topology string  `json:"topology"`
	Member   string  `json:"member"`
	Epoch    uint64  `json:"epoch"` // the highest that the agent has seen
	Have     uint64  `json:"have"`  // revision of the record that it has
	Self     Self    `json:"self"`
	Sights   []Sight `json:"sights,omitempty"` // of the other members
	Lease    Lease   `json:"lease"`
}

// Beat is the time between reports in peace.
const Beat = 500 * time.Millisecond

// Process says whether the server's process is there, as its host sees it.
type Process string

// The states of a process.
const (
	Running Process = "running"
	// Gone: the agent had it in sight, and the kernel told its end. A socket that is not
	// there is no such word, nor is silence: a failover begins at once for Gone.
	Gone   Process = "gone"
	Unseen Process = "unknown" // the agent cannot tell which process it is, or has not seen one yet
)

// Self is what an agent sees of its own server.
type Self struct {
	Process Process       `json:"process"`
	GoneFor time.Duration `json:"gone_for,omitempty"`
	// Answers: the last question over the local socket was answered. Silent is how long
	// ago the last answer came, when it was not.
	Answers  bool          `json:"answers"`
	Silent   time.Duration `json:"silent,omitempty"`
	CanStart bool          `json:"can_start,omitempty"` // its agent has a command that starts it
	Trouble  string        `json:"trouble,omitempty"`   // why there is no answer, or only a refusal
	Refuses  bool          `json:"refuses,omitempty"`   // it answers with an error (too many connections, access denied): it lives

	Version  string `json:"version,omitempty"`
	ServerID uint32 `json:"server_id,omitempty"`
	UUID     string `json:"uuid,omitempty"` // MySQL
	// ReadOnly: ordinary clients cannot write (read_only, super_read_only or offline mode).
	ReadOnly bool          `json:"read_only"`
	Uptime   time.Duration `json:"uptime,omitempty"`
	Clients  int           `json:"clients,omitempty"` // connected threads

	Replica  *Replica  `json:"replica,omitempty"` // nil when it replicates from nobody
	SemiSync SemiSync  `json:"semi_sync"`
	Commit   *Commit   `json:"commit,omitempty"` // of the primary
	Disk     Disk      `json:"disk"`
	Seen     time.Time `json:"-"`
}

// Origins are what the server's own transactions begin with in GTIDs of a flavour: its
// server_uuid, or in MariaDB its server_id.
func (s *Self) Origins(flavour string) []string {
	if flavour == gtid.MariaDB {
		return []string{strconv.FormatUint(uint64(s.ServerID), 10)}
	}
	return []string{s.UUID}
}

// Replica is the state of a server's replication.
type Replica struct {
	Source     string        `json:"source"`    // host:port it replicates from
	Channels   int           `json:"channels"`  // more than 1: several sources
	Receiving  bool          `json:"receiving"` // its receiver is connected
	Receiver   string        `json:"receiver"`  // the server's own word: Yes, No, Connecting
	NoNews     time.Duration `json:"no_news"`   // since an event or heartbeat came
	ReceiveErr string        `json:"receive_err,omitempty"`
	Applying   bool          `json:"applying"`
	ApplyErr   string        `json:"apply_err,omitempty"`
	Lag        time.Duration `json:"lag"`             // of the applier; negative when unknown
	Delay      time.Duration `json:"delay,omitempty"` // on purpose
	ByGTID     bool          `json:"by_gtid"`
}

// SemiSync is the state of semi-synchronous replication.
type SemiSync struct {
	Loaded  bool          `json:"loaded"`
	Waits   bool          `json:"waits"`             // as a primary: set to wait for acknowledgements
	Active  bool          `json:"active"`            // and really does: it has not fallen back to asynchronous
	Acks    int           `json:"acks,omitempty"`    // that it waits for
	Clients int           `json:"clients,omitempty"` // replicas that acknowledge
	Timeout time.Duration `json:"timeout,omitempty"` // until it falls back
	Lossy   bool          `json:"lossy,omitempty"`   // wait point after commit instead of after sync
	Replies bool          `json:"replies"`           // as a replica: acknowledges
}

// Commit is the outcome of the agent's own writes to the primary.
type Commit struct {
	Stuck   time.Duration `json:"stuck,omitempty"`   // how long the last one has been under way
	Took    time.Duration `json:"took,omitempty"`    // the last one that ended
	Failing time.Duration `json:"failing,omitempty"` // for how long all have ended with Trouble; 0: the last one has not
	Trouble string        `json:"trouble,omitempty"` // the error, or the server's own word for what it waits for
	Acks    bool          `json:"acks,omitempty"`    // it waits for replicas to acknowledge, which is not the server's fault
}

// Disk is the file system of the data directory.
type Disk struct {
	Free     int64 `json:"free,omitempty"` // bytes for the server's user; -1 when unknown
	Full     bool  `json:"full,omitempty"` // less than 1 MiB
	ReadOnly bool  `json:"read_only,omitempty"`
	// FullFor is how long it has been full; 0: it is not.
	FullFor time.Duration `json:"full_for,omitempty"`
}

// Sight is what an agent sees of another member over the network.
type Sight struct {
	Of string `json:"of"`
	// Answers: its server answered the last question. For is how long that has been so,
	// or not so.
	Answers bool          `json:"answers"`
	For     time.Duration `json:"for"`
	Trouble string        `json:"trouble,omitempty"`
	Refused bool          `json:"refused,omitempty"` // its host answers that nobody listens there
	// Agent: its agent answered, or asked, within the last Beat or two; Silent how long not.
	Agent  bool          `json:"agent"`
	Silent time.Duration `json:"silent,omitempty"`
}

// Lease is how the agent of a primary stands with its voters.
type Lease struct {
	Held    bool          `json:"held"`
	Left    time.Duration `json:"left,omitempty"`
	Voters  []string      `json:"voters,omitempty"`  // that granted within Policy.Lease
	Fenced  string        `json:"fenced,omitempty"`  // why the server was closed, and how
	Granted string        `json:"granted,omitempty"` // as a voter: to whom last
}
