package mysql

import (
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"kaname.dev/kaname/lab/netns"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/mysql/endpoint/vip"
	"kaname.dev/kaname/rib/mysql/topology"
)

// A host whose agent closes its server gives the virtual address up, takes it again when the
// agent opens the server again in the same epoch, and obeys nobody of an epoch that is over.
func TestTheAddressFollowsTheServer(t *testing.T) {
	h := netns.New(t, 1, 0).Hosts[0]
	if err := h.Do(func() error { return follows(t) }); err != nil {
		t.Fatal(err)
	}
}

func follows(t *testing.T) error {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}, PeerName: "v1"}
	for _, err := range []error{netlink.LinkAdd(link), netlink.LinkSetUp(link)} {
		if err != nil {
			return err
		}
	}
	r := &service{node: rib.Node{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, addresses: vip.NewHolder(nil)}
	defer r.addresses.Close()
	rec := &topology.Record{Name: "shop", Epoch: 5, Primary: "db1", Policy: topology.DefaultPolicy()}
	rec.Policy.Endpoints = []topology.Endpoint{{Kind: "hook"}, {Kind: "vip", Settings: map[string]string{"address": "192.0.2.10", "device": "v0", "probe": "0s"}}}
	old := rec.Clone()
	old.Epoch = 4
	for _, step := range []struct {
		what string
		do   func()
		held bool
	}{
		{"the primary is opened again", func() { r.regain(t.Context(), rec) }, true},
		{"an epoch that is over closes it", func() { r.drop(t.Context(), old) }, true},
		{"its agent closes it", func() { r.drop(t.Context(), rec) }, false},
		{"once more", func() { r.drop(t.Context(), rec) }, false},
		{"an epoch that is over opens it", func() { r.regain(t.Context(), old) }, false},
		{"it is opened again", func() { r.regain(t.Context(), rec) }, true},
	} {
		step.do()
		list, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		held := slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.IP.Equal(net.IPv4(192, 0, 2, 10)) })
		if held != step.held {
			t.Errorf("%s: the address is here: %t", step.what, held)
		}
	}
	return nil
}
