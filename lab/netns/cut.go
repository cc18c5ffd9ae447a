package netns

// nowhere is a hardware address that no host has.
const nowhere = "02:de:ad:00:00:01"

// Cut takes the host's cable out: it sees that its link is down.
func (h *Host) Cut() { h.bridge.ip("-n", h.bridge.name, "link", "set", h.port, "down") }

// CutSilently loses all packets to and from the host, as a switch does that has died inside:
// the link stays up, and nobody is told anything.
func (h *Host) CutSilently() {
	h.bridge.ip("-n", h.bridge.name, "link", "set", h.port, "nomaster")
}

// CutTo loses what the host sends to another one, also on connections that stand. What that
// one sends still arrives.
func (h *Host) CutTo(other *Host) {
	h.cut = append(h.cut, other.IP)
	h.bridge.ip("-n", h.Name, "neigh", "replace", other.IP, "lladdr", nowhere, "dev", "eth0", "nud", "permanent")
}

// Restore undoes all cuts of this host; it may be called when there are none.
func (h *Host) Restore() {
	for _, ip := range h.cut {
		h.bridge.ip("-n", h.Name, "neigh", "del", ip, "dev", "eth0")
	}
	h.cut = nil
	h.bridge.ip("-n", h.bridge.name, "link", "set", h.port, "master", "br0", "up")
}
