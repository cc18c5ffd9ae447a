package expect

import (
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// tunnelFlows adds what a tunnel's port needs, in the model.
func (v *view) tunnelFlows(h *facts.Host, a *intent.Agent, ofport int) { _, _, _ = h, a, ofport }
