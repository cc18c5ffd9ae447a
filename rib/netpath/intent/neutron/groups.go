package neutron

import (
	"context"
	"net/netip"

	"kaname.dev/kaname/rib/netpath/intent"
)

// rule is a rule of a security group.
type rule struct {
	ID        string  `json:"id"`
	Direction string  `json:"direction"`
	Family    string  `json:"ethertype"`
	Proto     *number `json:"protocol"`
	Low       *int    `json:"port_range_min"`
	High      *int    `json:"port_range_max"`
	Prefix    *string `json:"remote_ip_prefix"`
	Group     *string `json:"remote_group_id"`
	Addresses *string `json:"remote_address_group_id"` // Wallaby and later
}

// number is a protocol, by name or by number: a string, but some releases answer a number.
type number string

// UnmarshalJSON takes both.
func (n *number) UnmarshalJSON(b []byte) error {
	for len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	*n = number(b)
	return nil
}

func (r *reading) groups(ctx context.Context) error {
	type group struct {
		owned
		ID       string `json:"id"`
		Name     string `json:"name"`
		Stateful *bool  `json:"stateful"` // Victoria and later
		Rules    []rule `json:"security_group_rules"`
	}
	var all []group
	asked := false
	err := list(ctx, r.client, r.neutron, "security-groups", "security_groups", nil, func(g *group) error {
		for i := range g.Rules {
			asked = asked || or(g.Rules[i].Addresses, "") != ""
		}
		if !or(g.Stateful, true) {
			r.refused.add("security group " + g.ID + " is stateless: answers of its ports are taken to pass, which they may not")
		}
		all = append(all, *g)
		return nil
	})
	if err != nil {
		return err
	}
	if asked {
		if err := r.addressGroups(ctx); err != nil {
			return err
		}
	}
	r.cloud.Groups = make([]intent.Group, len(all))
	for i, g := range all {
		r.cloud.Groups[i] = intent.Group{ID: g.ID, Name: g.Name, Project: g.project(), Rules: r.rules(g.Rules)}
	}
	return nil
}

// rules takes rules over. One for a group of addresses becomes one for each of them, none
// where the group could not be read: a packet is rather said to be stopped, with a note.
func (r *reading) rules(all []rule) []intent.Rule {
	out := make([]intent.Rule, 0, len(all))
	for i := range all {
		in := &all[i]
		one := intent.Rule{
			ID: in.ID, Ingress: in.Direction == "ingress", V6: in.Family == "IPv6", Proto: string(or(in.Proto, "")),
			Low: or(in.Low, 0), High: or(in.High, 0), Ranged: in.Low != nil || in.High != nil,
			Prefix: prefix(or(in.Prefix, "")), Group: or(in.Group, ""),
		}
		if one.Proto == "null" || one.Proto == "any" {
			one.Proto = ""
		}
		group := or(in.Addresses, "")
		if group == "" {
			out = append(out, one)
			continue
		}
		for _, a := range r.addrs[group] {
			if one.Prefix = prefix(a); one.Prefix != (netip.Prefix{}) {
				out = append(out, one)
			}
		}
	}
	return out
}

func (r *reading) addressGroups(ctx context.Context) error {
	type group struct {
		ID        string   `json:"id"`
		Addresses []string `json:"addresses"`
	}
	r.addrs = map[string][]string{}
	err := list(ctx, r.client, r.neutron, "address-groups", "address_groups", nil, func(g *group) error {
		r.addrs[g.ID] = g.Addresses
		return nil
	})
	return r.optional(err, "address groups, to which rules of security groups refer")
}
