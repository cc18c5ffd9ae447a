package expect

func (v *view) firewallWants() []want { return nil }
