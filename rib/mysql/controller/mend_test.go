package controller

import (
	"testing"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Positions of MariaDB compare by number only: what a former primary has for itself can be
// below the position of the new one.
func TestWhatAFormerPrimaryHas(t *testing.T) {
	for name, c := range map[string]struct {
		executed, state, slave string
		errant                 string
		contained              bool
	}{
		"all is there":                   {"0-1-290", "0-1-290", "", "", true},
		"it follows already":             {"0-2-395", "0-1-290,0-2-395", "0-2-395", "", true},
		"a tail that nobody else has":    {"0-1-295", "0-1-295", "", "0-1-295", false},
		"it followed with that tail":     {"0-2-398", "0-1-295,0-2-398", "0-2-398", "0-1-295", false},
		"ahead of the primary":           {"0-2-401", "0-1-290,0-2-401", "0-2-401", "0-2-401", false},
		"an agent that tells less, tail": {"0-1-295", "", "", "0-1-295", false},
	} {
		t.Run(name, func(t *testing.T) {
			at := &charge{looked: map[string]looked{}}
			at.keep(&topology.Record{Flavour: gtid.MariaDB, Primary: "db2"}, map[string]order.Details{
				"db1": {Self: topology.Self{ServerID: 1}, Executed: c.executed, State: c.state, Slave: c.slave},
				"db2": {Self: topology.Self{ServerID: 2}, Executed: "0-2-400", State: "0-2-400", Slave: "0-1-290"},
			})
			l := at.looked["db1"]
			if got := l.look.Errants.All.String(); got != c.errant || l.errant != c.errant || l.look.Contained != c.contained {
				t.Errorf("errant %q, %q (want %q); contained %t (want %t)", got, l.errant, c.errant, l.look.Contained, c.contained)
			}
		})
	}
}
