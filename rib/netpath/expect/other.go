package expect

import "kaname.dev/kaname/rib/netpath/trace"

func (v *view) firewallWants() []want      { return nil }
func (v *view) services() []trace.Finding  { return nil }
func (v *view) leftovers() []trace.Finding { return nil }
