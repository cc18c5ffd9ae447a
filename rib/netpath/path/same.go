package path

import (
	"maps"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
)

// sameSwitch reports whether two states of Open vSwitch are the same for packets.
func sameSwitch(a, b *facts.OVS) bool {
	return a != nil && b != nil && slices.EqualFunc(a.Bridges, b.Bridges, sameBridge)
}

func sameBridge(a, b facts.Bridge) bool {
	return a.Name == b.Name && a.Flows == b.Flows && a.Groups == b.Groups && a.FailMode == b.FailMode &&
		slices.Equal(a.FDB, b.FDB) && slices.EqualFunc(a.Ports, b.Ports, samePort) && maps.Equal(a.Other, b.Other)
}

func samePort(a, b facts.Port) bool {
	return a.Name == b.Name && a.OFPort == b.OFPort && a.Tag == b.Tag && a.Type == b.Type && a.Mode == b.Mode && a.MAC == b.MAC && a.MTU == b.MTU &&
		a.Admin == b.Admin && a.Link == b.Link && a.Error == b.Error && slices.Equal(a.Trunks, b.Trunks) && maps.Equal(a.Options, b.Options)
}

// sameSpace reports whether two states of a namespace are the same for packets.
func sameSpace(a, b *facts.Namespace) bool {
	return a.IPTables4 == b.IPTables4 && a.IPTables6 == b.IPTables6 && a.IPSets == b.IPSets && maps.Equal(a.Sysctls, b.Sysctls) &&
		slices.Equal(a.Routes, b.Routes) && slices.Equal(a.Rules, b.Rules) && slices.Equal(a.Neighbours, b.Neighbours) &&
		slices.Equal(a.FDB, b.FDB) && slices.Equal(a.Sockets, b.Sockets) && slices.EqualFunc(a.Links, b.Links, sameLink)
}

func sameLink(a, b facts.Link) bool {
	if !slices.Equal(a.Addrs, b.Addrs) {
		return false
	}
	return a.Name == b.Name && a.Index == b.Index && a.Kind == b.Kind && a.MAC == b.MAC && a.MTU == b.MTU && a.Up == b.Up && a.Running == b.Running &&
		a.Master == b.Master && a.PeerIndex == b.PeerIndex && a.PeerSpace == b.PeerSpace && a.VLAN == b.VLAN && a.Parent == b.Parent && a.VNI == b.VNI
}
