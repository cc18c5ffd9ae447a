// Package consul leads clients to the primary by keys in Consul's KV store and, if asked to,
// a service in its catalog: what consul-template, or Consul's DNS, makes addresses of.
//
// All of it changes in one transaction, which checks that nobody has changed the primary's
// key since it was read. The epoch is in that key: who comes with a lower one changes
// nothing, also from another controller and after a restart.
//
//	kaname/mysql/shop              {"topology":"shop","epoch":7,"name":"db2","address":"192.0.2.2:3306",…}
//	kaname/mysql/shop/primary      192.0.2.2:3306
//	mysql/master/shop              192.0.2.2:3306     as orchestrator writes them
//	mysql/master/shop/hostname     192.0.2.2
//	mysql/master/shop/port         3306
//	mysql/master/shop/ipv4         192.0.2.2          or ipv6
//
// While there is no primary only the first key is left, without an address.
// consul-template then keeps what it has rendered.
//
// The service is registered in the catalog, at a node of its own, and not with an agent: an
// agent's registration would stay behind when another core becomes the controller.
//
// Sources: Consul's HTTP API, "Transaction" (/v1/txn) and "KV Store"; orchestrator's document
// "Key-Value stores".
package consul

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Primary is the JSON of the first key.
type Primary struct {
	Topology string `json:"topology"`
	Epoch    uint64 `json:"epoch"`
	Name     string `json:"name,omitempty"` // of the member; empty: there is no primary now
	Host     string `json:"host,omitempty"` // whose agent looks after it
	Address  string `json:"address,omitempty"`
	IP       string `json:"ip,omitempty"` // Address without the port
	Port     int    `json:"port,omitempty"`
	// Replicas are the addresses of those that are fit for reads.
	Replicas []string `json:"replicas,omitempty"`
}

type driver struct {
	topology string
	client   *api.Client
	http     *http.Client
	token    string // the file's path
	dc       string
	prefix   string
	master   string // prefix of orchestrator's keys; empty: none
	service  string
	log      *slog.Logger
}

// timeout bounds one question to Consul; a leader's election there takes a few seconds.
const timeout = 10 * time.Second

// New returns the driver. It asks nothing of Consul yet. Settings:
//
//	address       http://127.0.0.1:8500; https:// for TLS
//	token_file    file with the token, read for each call; needs key:write on the keys, and
//	              node:write and service:write for a service. Without it the library takes
//	              CONSUL_HTTP_TOKEN, if that is in the environment
//	ca_file       certificates that Consul's must be signed by; the system's
//	cert_file, key_file  this client's certificate and key
//	server_name   the name in Consul's certificate, if not the address's
//	dc            Consul's data centre; the agent's own
//	prefix        of kaname's keys; kaname/mysql
//	orchestrator  prefix of the keys as orchestrator writes them, mysql/master; no: none
//	service       name of a service to register; none
func New(o endpoint.Options) (endpoint.Driver, error) {
	settings := map[string]string{
		"address": "http://127.0.0.1:8500", "token_file": "", "ca_file": "", "cert_file": "", "key_file": "",
		"server_name": "", "dc": "", "prefix": "kaname/mysql", "orchestrator": "mysql/master", "service": "",
	}
	for key, value := range o.Settings {
		if _, known := settings[key]; !known {
			return nil, fmt.Errorf("endpoint consul of %s: setting %s is not known; known are %s", o.Topology, key, strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
		}
		settings[key] = value
	}
	d := &driver{
		topology: o.Topology, token: settings["token_file"], dc: settings["dc"],
		prefix: strings.Trim(settings["prefix"], "/"), service: settings["service"], log: o.Log,
	}
	if settings["orchestrator"] != "no" {
		d.master = strings.Trim(settings["orchestrator"], "/")
	}
	if d.prefix == "" || !strings.HasPrefix(settings["address"], "http://") && !strings.HasPrefix(settings["address"], "https://") {
		return nil, fmt.Errorf("endpoint consul of %s: address must begin with http:// or https://, prefix must not be empty", o.Topology)
	}
	tls, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: settings["server_name"], CAFile: settings["ca_file"], CertFile: settings["cert_file"], KeyFile: settings["key_file"],
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint consul of %s: certificates: %w", o.Topology, err)
	}
	d.http = &http.Client{Timeout: timeout, Transport: &http.Transport{
		TLSClientConfig: tls, TLSHandshakeTimeout: timeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}}
	if d.client, err = api.NewClient(&api.Config{Address: settings["address"], HttpClient: d.http}); err != nil {
		return nil, fmt.Errorf("endpoint consul of %s: %w", o.Topology, err)
	}
	return d, nil
}

// options are those of each question. The token is read anew, so that it can be rotated.
func (d *driver) options(ctx context.Context) (*api.QueryOptions, error) {
	q := &api.QueryOptions{RequireConsistent: true, Datacenter: d.dc}
	if d.token != "" {
		b, err := os.ReadFile(d.token)
		if err != nil {
			return nil, fmt.Errorf("token of Consul: %w; set token_file to a file that this user may read", err)
		}
		q.Token = strings.TrimSpace(string(b))
	}
	return q.WithContext(ctx), nil
}

func (d *driver) key() string { return d.prefix + "/" + d.topology }

// read returns what the first key says, and its index; the zero values when there is none.
func (d *driver) read(ctx context.Context) (p Primary, index uint64, err error) {
	q, err := d.options(ctx)
	if err != nil {
		return p, 0, err
	}
	pair, _, err := d.client.KV().Get(d.key(), q)
	if err != nil {
		return p, 0, fmt.Errorf("read key %s in Consul: %w", d.key(), err)
	}
	if pair == nil {
		return p, 0, nil
	}
	if err := json.Unmarshal(pair.Value, &p); err != nil {
		return p, 0, fmt.Errorf("key %s in Consul is not kaname's: %w; remove it, or choose another prefix", d.key(), err)
	}
	return p, pair.ModifyIndex, nil
}

func (d *driver) Publish(ctx context.Context, t endpoint.Target) error {
	want, err := primary(t)
	if err != nil {
		return err
	}
	for {
		was, index, err := d.read(ctx)
		if err != nil {
			return err
		}
		if was.Epoch > want.Epoch {
			return fmt.Errorf("key %s in Consul has epoch %d, this is %d: %w", d.key(), was.Epoch, want.Epoch, endpoint.ErrOld)
		}
		ops, err := d.operations(want, index)
		if err != nil {
			return err
		}
		q, err := d.options(ctx)
		if err != nil {
			return err
		}
		ok, answer, _, err := d.client.Txn().Txn(ops, q)
		switch {
		case err != nil:
			return fmt.Errorf("write keys of %s in Consul: %w", d.topology, err)
		case ok:
			return nil
		case !slices.ContainsFunc(answer.Errors, func(e *api.TxnError) bool { return e.OpIndex == 0 }):
			return fmt.Errorf("write keys of %s in Consul: refused: %s", d.topology, explain(answer.Errors))
		}
		// Somebody else has written in between: look again, for it may have been a newer epoch.
		select {
		case <-ctx.Done():
			return fmt.Errorf("write keys of %s in Consul: others write all the time: %w", d.topology, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *driver) Withdraw(ctx context.Context, t endpoint.Target) error {
	t.Primary = nil
	return d.Publish(ctx, t)
}

func (d *driver) Current(ctx context.Context) (endpoint.Target, error) {
	p, _, err := d.read(ctx)
	if err != nil || p.Name == "" {
		return endpoint.Target{}, err
	}
	return endpoint.Target{
		Topology: p.Topology, Epoch: p.Epoch,
		Primary: &topology.Member{Name: p.Name, Host: p.Host, Address: p.Address},
	}, nil
}

func (d *driver) Close() error {
	d.http.CloseIdleConnections()
	return nil
}

func explain(all api.TxnErrors) string {
	var said []string
	for _, e := range all {
		said = append(said, e.What)
	}
	return cmp.Or(strings.Join(said, "; "), "no reason given")
}

func primary(t endpoint.Target) (Primary, error) {
	p := Primary{Topology: t.Topology, Epoch: t.Epoch}
	if t.Primary == nil {
		return p, nil
	}
	host, port, err := net.SplitHostPort(t.Primary.Address)
	if err == nil {
		p.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return p, fmt.Errorf("endpoint consul of %s: address of %s: %w", t.Topology, t.Primary.Name, err)
	}
	p.Name, p.Host, p.Address, p.IP = t.Primary.Name, t.Primary.Host, t.Primary.Address, host
	for _, r := range t.Replicas {
		p.Replicas = append(p.Replicas, r.Address)
	}
	return p, nil
}

// operations are those of the transaction: the first checks and sets the key with the epoch.
func (d *driver) operations(want Primary, index uint64) (api.TxnOps, error) {
	value, err := json.Marshal(want)
	if err != nil {
		return nil, err
	}
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: d.key(), Value: value, Index: index}}}
	values := map[string]string{d.key() + "/primary": want.Address}
	if d.master != "" {
		maps.Copy(values, asOrchestrator(d.master+"/"+d.topology, want))
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		op := &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: []byte(values[key])}
		if values[key] == "" {
			op = &api.KVTxnOp{Verb: api.KVDelete, Key: key}
		}
		ops = append(ops, &api.TxnOp{KV: op})
	}
	if d.service != "" {
		ops = append(ops, d.registration(want)...)
	}
	return ops, nil
}

// asOrchestrator returns the keys that orchestrator has for a cluster's primary; an empty value
// means that there is to be none.
func asOrchestrator(key string, p Primary) map[string]string {
	values := map[string]string{key: p.Address, key + "/hostname": p.IP, key + "/port": "", key + "/ipv4": "", key + "/ipv6": ""}
	if p.Port > 0 {
		values[key+"/port"] = strconv.Itoa(p.Port)
	}
	if a, err := netip.ParseAddr(p.IP); err == nil {
		if a.Is4() {
			values[key+"/ipv4"] = p.IP
		} else {
			values[key+"/ipv6"] = p.IP
		}
	}
	return values
}

// registration sets or removes the service, at a node that stands for the topology.
func (d *driver) registration(want Primary) api.TxnOps {
	node := "kaname-mysql-" + d.topology
	if want.Name == "" {
		return api.TxnOps{{Node: &api.NodeTxnOp{Verb: api.NodeDelete, Node: api.Node{Node: node}}}}
	}
	return api.TxnOps{
		{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{
			Node: node, Address: want.IP, Meta: map[string]string{"external-node": "true", "external-probe": "false"},
		}}},
		{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{
			ID: d.service, Service: d.service, Address: want.IP, Port: want.Port, Tags: []string{"primary"},
			Meta: map[string]string{"member": want.Name, "epoch": strconv.FormatUint(want.Epoch, 10)},
		}}},
	}
}
