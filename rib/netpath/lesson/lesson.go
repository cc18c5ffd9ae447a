// Package lesson teaches how a Neutron network works, with the names of the cloud at hand.
// What is taught is data, in lessons.yaml.
package lesson

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

//go:embed lessons.yaml
var source []byte

// Lesson is one thing that can be taught.
type Lesson struct {
	ID    string              `yaml:"id"`
	Title map[string]string   `yaml:"title"` // by language
	Text  map[string][]string `yaml:"text"`  // paragraphs, templates over Names
	Show  Show                `yaml:"show"`
}

// Show is the path that goes with a lesson: names of fields of Names, or ends as they are.
type Show struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
	Size int    `yaml:"size"`
}

// Names are those of a cloud that lessons use.
type Names struct {
	VM, Peer, Far Machine // Peer: in the same network, on another host; Far: in another network of the router
	Float         struct{ Addr, VM string }
	Router        struct{ Name, Gateway string } // Gateway: the host that does its SNAT
	DHCP          string                         // a host
	Invented      []string                       // what this cloud does not have
}

// Machine is a VM's port.
type Machine struct{ Name, Host, Network, ID string }

// All lists what can be taught, in the order in which to learn it.
func All() ([]Lesson, error) {
	var list []Lesson
	if err := yaml.UnmarshalWithOptions(source, &list, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("lessons: %w", err)
	}
	return list, nil
}

// Paragraphs writes the lesson with names.
func (l *Lesson) Paragraphs(lang string, n Names) ([]string, error) {
	var out []string
	for _, p := range l.Text[lang] {
		t, err := template.New(l.ID).Option("missingkey=error").Parse(p)
		if err != nil {
			return nil, fmt.Errorf("lesson %s: %w", l.ID, err)
		}
		var b strings.Builder
		if err := t.Execute(&b, n); err != nil {
			return nil, fmt.Errorf("lesson %s: %w", l.ID, err)
		}
		out = append(out, b.String())
	}
	return out, nil
}

// Question is the path to show with the lesson; false when this cloud has no such ends.
func (l *Lesson) Question(n Names) (trace.Question, bool) {
	q := trace.Question{From: n.end(l.Show.From), To: n.end(l.Show.To), Proto: "icmp", Size: l.Show.Size}
	return q, q.From != "" && q.To != ""
}

func (n *Names) end(name string) string {
	switch name {
	case "VM":
		return n.VM.ID
	case "Peer":
		return n.Peer.ID
	case "Far":
		return n.Far.ID
	case "Float":
		if slices.Contains(n.Invented, "floating") {
			return ""
		}
		return n.Float.Addr
	}
	return name
}

// NamesOf chooses names of a cloud, always the same ones for the same cloud. What it lacks
// is invented.
func NamesOf(c *intent.Cloud) Names {
	p := picker{cloud: c, networks: map[string]string{}, routers: map[string]string{}}
	for i := range c.Networks {
		n := &c.Networks[i]
		p.networks[n.ID] = cmp.Or(n.Name, n.ID)
	}
	for i := range c.Ports {
		if q := &c.Ports[i]; q.Owner == intent.OwnerRouter || q.Owner == intent.OwnerDistributed {
			p.routers[q.Network] = q.Device
		}
	}
	var n Names
	p.machines(&n)
	p.rest(&n)
	return n
}

type picker struct {
	cloud    *intent.Cloud
	networks map[string]string // names by id
	routers  map[string]string // of networks
}

func (p *picker) machine(q *intent.Port) Machine {
	return Machine{Name: cmp.Or(q.VM, q.Name, q.ID), Host: q.Host, Network: p.networks[q.Network], ID: q.ID}
}

// enough is how many machines are considered, each against all others.
const enough = 100

// machines chooses a VM with the most of a company: a peer, and one behind the same router.
func (p *picker) machines(n *Names) {
	best, tried := -1, 0
	for i := range p.cloud.Ports {
		a := &p.cloud.Ports[i]
		if !vm(a) {
			continue
		}
		if tried++; tried > enough {
			return
		}
		var peer, far *intent.Port
		for j := range p.cloud.Ports {
			b := &p.cloud.Ports[j]
			switch {
			case !vm(b) || b.Host == a.Host:
			case b.Network == a.Network && peer == nil:
				peer = b
			case b.Network != a.Network && far == nil && p.routers[a.Network] != "" && p.routers[b.Network] == p.routers[a.Network]:
				far = b
			}
		}
		rank := 0
		if peer != nil {
			rank++
		}
		if far != nil {
			rank += 2
		}
		if rank <= best {
			continue
		}
		best = rank
		n.VM, n.Peer, n.Far = p.machine(a), Machine{}, Machine{}
		if peer != nil {
			n.Peer = p.machine(peer)
		}
		if far != nil {
			n.Far = p.machine(far)
		}
		if best == 3 {
			return
		}
	}
}

func vm(p *intent.Port) bool {
	return strings.HasPrefix(p.Owner, intent.OwnerCompute) && p.Host != "" && len(p.IPs) > 0
}

// rest chooses a router, a floating address and a DHCP server, and invents what is not there.
func (p *picker) rest(n *Names) {
	for i := range p.cloud.Routers {
		if r := &p.cloud.Routers[i]; n.Router.Name == "" || r.Distributed && r.External != "" {
			n.Router.Name = cmp.Or(r.Name, r.ID)
			if len(r.Hosts) > 0 {
				n.Router.Gateway = r.Hosts[0]
			}
		}
	}
	for i := range p.cloud.Floating {
		f := &p.cloud.Floating[i]
		for j := range p.cloud.Ports {
			if q := &p.cloud.Ports[j]; f.Port == q.ID && n.Float.Addr == "" {
				n.Float.Addr, n.Float.VM = f.Addr.String(), cmp.Or(q.VM, q.Name, q.ID)
			}
		}
	}
	for i := range p.cloud.Networks {
		if d := p.cloud.Networks[i].DHCP; len(d) > 0 && n.DHCP == "" {
			n.DHCP = d[0]
		}
	}
	n.invent()
}

// invent gives names to what the cloud does not have, and notes that.
func (n *Names) invent() {
	missing := func(what string, field *string, name string) {
		if *field == "" {
			*field = name
			if !slices.Contains(n.Invented, what) {
				n.Invented = append(n.Invented, what)
			}
		}
	}
	for _, m := range []struct {
		what string
		*Machine
		name, host string
	}{{"VM", &n.VM, "web-1", "compute-1"}, {"peer", &n.Peer, "web-2", "compute-2"}, {"far", &n.Far, "db-1", "compute-2"}} {
		missing(m.what, &m.Name, m.name)
		missing(m.what, &m.Host, m.host)
		missing(m.what, &m.Network, "web-net")
	}
	missing("router", &n.Router.Name, "router-1")
	missing("gateway", &n.Router.Gateway, "network-1")
	missing("floating", &n.Float.Addr, "203.0.113.10")
	missing("floating", &n.Float.VM, n.VM.Name)
	missing("dhcp", &n.DHCP, n.Router.Gateway)
}
