package netpath

import "kaname.dev/kaname/action"

// actions lists what people can do.
func (r *service) actions() []action.Action {
	return []action.Action{
		action.New("netpath trace", "Follow a packet, and say where it dies and why", action.Reads, r.trace,
			action.InJapanese("パケットの経路をたどり、どこでなぜ落ちるかを調べる"),
			action.LocalWith("from"),
			action.WithLong("The path is computed from what Neutron wants and from what each host on it really has; no packet is sent without --live. Ends are VMs, ports, addresses, floating addresses, devices; or internet, metadata, dhcp, dns, gateway. What differs from Neutron's intent is repaired in the model, one thing after the other: the repair that lets the packet arrive is the cause, and its command is shown. With --live a few marked packets are really sent from the first end's port, and watched at each hop; that takes the role of an operator."),
			action.WithExample("kaname netpath trace web-1 db-1 --tcp 3306", "from a VM to another one's port"),
			action.WithExample("kaname netpath trace internet 203.0.113.85 --tcp 443", "to a floating address, from outside"),
			action.WithExample("kaname netpath trace web-1 metadata --why", "with the lines on which each statement rests"),
			action.WithExample("kaname netpath trace web-1 db-1 --size 1500 --from case.tar.zst", "from a bundle, with no cloud at hand")),
		action.New("netpath check", "Look for what is broken in the network, before anybody calls", action.Reads, r.check,
			action.InJapanese("ネットワーク全体を調べ、壊れている箇所を挙げる"),
			action.LocalWith("from"),
			action.WithLong("Each host is compared with what Neutron wants of it; what differs and stops packets is told apart from what differs and harms nobody now."),
			action.WithExample("kaname netpath check", "all hosts"),
			action.WithExample("kaname netpath check --hosts c1,n1", "some of them"),
			action.WithExample("kaname netpath check --from case.tar.zst", "those in a bundle")),
		action.New("netpath bundle", "Write all that is needed for a diagnosis into one file", action.Reads, r.bundle,
			action.InJapanese("診断に必要な情報を 1 つのファイルにまとめる"),
			action.WithLong("What Neutron says and what the hosts have, without secrets. The file stays on the core, and is printed as a path there; trace, check and explain read it with --from on any machine."),
			action.WithExample("kaname netpath bundle", "of the whole cloud"),
			action.WithExample("kaname netpath bundle --hosts c1,c2,n1", "of some hosts")),
		action.New("netpath explain", "Teach how the network works, with the names of this cloud", action.Reads, r.explain,
			action.InJapanese("このクラウドの実名を使って仕組みを説明する"),
			action.LocalWith("from"),
			action.WithExample("kaname netpath explain", "what can be explained"),
			action.WithExample("kaname netpath explain dvr-north-south", "how packets leave and enter the cloud")),
	}
}
