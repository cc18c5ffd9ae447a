// Package exchange is what hosts of the plane tell each other about databases. Agents of
// database hosts report to the controller and ask each other for grants; routers ask the
// controller where to lead clients. It travels by HTTP between the peer listeners (mutual
// TLS). Orders do not: those are signed commands of the plane.
package exchange

import (
	"net/http"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// Office is the name of the controller's office.
const Office = "mysql"

// The paths on the controller's peer listener.
const (
	PathReport = "/mysql/report" // a talk: topology.Report, answered with Heard
	PathRoute  = "/mysql/route"  // POST Route, answered with Led when there is something new, or after Wait
	PathView   = "/mysql/view"   // POST Query, answered with View
)

// The paths on the peer listener of a database host.
const (
	PathGrant = "/mysql/grant" // POST lease.Ask, answered with lease.Answer
	PathTail  = "/mysql/tail"  // POST Tail, answered with transactions as package binlog sends them
	PathCopy  = "/mysql/copy"  // POST Copy, answered with a copy of the data, as mbstream(1) unpacks it
)

// The commands that database hosts serve, all of version 1.
const (
	CommandOrder   = "mysql.order"   // order.Order, answered with order.Done
	CommandServers = "mysql.servers" // answered with []Server
	CommandVIP     = "mysql.vip"     // whether to hold a vip.Assignment, answered with a text
)

// Wait is how long a question for news may stay open; it is short, for a router must
// find the next controller when this one has vanished.
const Wait = 5 * time.Second

// NewClient returns what talks to the controller; an answer comes within the time.
func NewClient(p *plane.Plane, peer func(host string) *http.Client, within time.Duration) *office.Client {
	return &office.Client{Plane: p, Peer: peer, Office: Office, Within: within}
}

// Reports is how the agent of a server reports to the controller.
type Reports = office.Talk[topology.Report, Heard]

// NewReports returns it; nothing is said yet. Close it.
func NewReports(c *office.Client) *Reports {
	return office.NewTalk[topology.Report, Heard](c, PathReport)
}

// Heard is the answer to a report.
type Heard struct {
	Record   *topology.Record `json:"record,omitempty"` // when the agent has another revision
	Revision uint64           `json:"revision"`
	// Granted: the controller holds the member for the primary of the report's epoch.
	Granted bool `json:"granted"`
}

// Server is a database server of a host, as its configuration names it.
type Server struct {
	Name     string `json:"name"`
	Address  string `json:"address"`            // IP:port at which replicas and clients reach it
	Topology string `json:"topology,omitempty"` // to which it belongs already
	Trouble  string `json:"trouble,omitempty"`
}

// Route is a router's question where to lead clients.
type Route struct {
	Topology string `json:"topology"`
	Router   string `json:"router"` // its name on the asking host
	Have     uint64 `json:"have"`   // the Turn that it follows already; 0 none
	Clients  int    `json:"clients"`
}

// Led is the answer to Route.
type Led struct {
	Turn     uint64            `json:"turn"` // changes with each answer, and with the controller
	Epoch    uint64            `json:"epoch"`
	Primary  *topology.Member  `json:"primary"` // nil: nowhere, clients wait
	Replicas []topology.Member `json:"replicas,omitempty"`
}

// Tail asks for the transactions in a server's binary logs beyond a GTID set.
type Tail struct {
	Topology string `json:"topology"`
	Member   string `json:"member"`
	Have     string `json:"have"`
}

// Copy asks for a copy of a server's data.
type Copy struct {
	Topology string `json:"topology"`
	Member   string `json:"member"`
	Version  string `json:"version"` // of the server that becomes the copy, major.minor
	Room     int64  `json:"room"`    // bytes that are free there
}

// RouterView is a router as the controller knows it.
type RouterView struct {
	Host    string `json:"host"`
	Router  string `json:"router"`
	Clients int    `json:"clients"`
	Follows bool   `json:"follows"`        // it leads where the controller says
	Lost    bool   `json:"lost,omitempty"` // it has not asked for a while
}
