package consul_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"
)

// standIn answers as much of Consul's HTTP API as the driver asks: one key, and transactions
// of keys, nodes and services, whole or not at all. It stands here because Consul takes nine
// minutes of processor time to build; what it does was read in the state store of Consul 1.20
// (what is not there can be deleted; the same value again leaves ModifyIndex as it is).
// "go test -consul http://127.0.0.1:8500" uses a real one in its place.
type standIn struct {
	t     testing.TB
	lock  sync.Mutex
	index uint64
	kv    map[string]*api.KVPair
	nodes map[string]string           // address by name
	svcs  map[string]api.AgentService // by node
	token string                      // empty: everybody may
	// before runs once, before the next transaction, without the lock.
	before func()
}

func newStandIn(t testing.TB) *standIn {
	return &standIn{t: t, kv: map[string]*api.KVPair{}, nodes: map[string]string{}, svcs: map[string]api.AgentService{}}
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.denied(r) {
		http.Error(w, "Permission denied: token with AccessorID '00000000' lacks permission 'key:read'", http.StatusForbidden)
		return
	}
	key, isKey := strings.CutPrefix(r.URL.Path, "/v1/kv/")
	switch {
	case r.Method == http.MethodGet && isKey:
		if _, consistent := r.URL.Query()["consistent"]; !consistent {
			s.t.Errorf("%s is read without consistency", key)
		}
		s.get(w, key)
	case r.Method == http.MethodPut && r.URL.Path == "/v1/txn":
		s.lock.Lock()
		before := s.before
		s.before = nil
		s.lock.Unlock()
		if before != nil {
			before()
		}
		s.txn(w, r)
	default:
		s.t.Errorf("the driver asked for %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	}
}

func (s *standIn) denied(r *http.Request) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.token != "" && r.Header.Get("X-Consul-Token") != s.token
}

func (s *standIn) get(w http.ResponseWriter, key string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	w.Header().Set("X-Consul-Index", strconv.FormatUint(s.index, 10))
	p := s.kv[key]
	if p == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	json.NewEncoder(w).Encode([]*api.KVPair{p})
}

type txnOp struct {
	KV *struct {
		Verb, Key, Value string
		Index            uint64
	}
	Node    *api.NodeTxnOp
	Service *api.ServiceTxnOp
}

func (s *standIn) txn(w http.ResponseWriter, r *http.Request) {
	var ops []txnOp
	if err := json.NewDecoder(r.Body).Decode(&ops); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	kv, nodes, svcs := maps.Clone(s.kv), maps.Clone(s.nodes), maps.Clone(s.svcs)
	s.index++
	for i, op := range ops {
		if err := s.do(op); err != nil {
			s.kv, s.nodes, s.svcs = kv, nodes, svcs
			w.WriteHeader(http.StatusConflict)
			json.NewEncoder(w).Encode(map[string]any{"Errors": []any{map[string]any{"OpIndex": i, "What": err.Error()}}})
			return
		}
	}
	w.Write([]byte(`{"Results":[],"Errors":null}`))
}

func (s *standIn) do(op txnOp) error {
	switch {
	case op.KV != nil:
		was := s.kv[op.KV.Key]
		switch api.KVOp(op.KV.Verb) {
		case api.KVDelete:
			delete(s.kv, op.KV.Key)
			return nil
		case api.KVCAS:
			if was == nil && op.KV.Index != 0 || was != nil && was.ModifyIndex != op.KV.Index {
				return fmt.Errorf("failed to set key %q, index is stale", op.KV.Key)
			}
		case api.KVSet:
		default:
			return fmt.Errorf("verb %q", op.KV.Verb)
		}
		value, err := base64.StdEncoding.DecodeString(op.KV.Value)
		if err != nil {
			return err
		}
		if was == nil || !bytes.Equal(was.Value, value) { // the same again changes nothing
			s.kv[op.KV.Key] = &api.KVPair{Key: op.KV.Key, Value: value, ModifyIndex: s.index}
		}
	case op.Node != nil && op.Node.Verb == api.NodeSet:
		s.nodes[op.Node.Node.Node] = op.Node.Node.Address
	case op.Node != nil && op.Node.Verb == api.NodeDelete:
		delete(s.nodes, op.Node.Node.Node)
		delete(s.svcs, op.Node.Node.Node)
	case op.Service != nil && op.Service.Verb == api.ServiceSet:
		if _, ok := s.nodes[op.Service.Node]; !ok {
			return errors.New("missing node registration")
		}
		s.svcs[op.Service.Node] = op.Service.Service
	default:
		return fmt.Errorf("operation %+v", op)
	}
	return nil
}

func (s *standIn) keys() map[string]string {
	s.lock.Lock()
	defer s.lock.Unlock()
	all := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(s.kv)) {
		all[k] = string(s.kv[k].Value)
	}
	return all
}

func (s *standIn) services() map[string]string {
	s.lock.Lock()
	defer s.lock.Unlock()
	all := map[string]string{}
	for _, v := range s.svcs {
		all[v.Service] = fmt.Sprintf("%s:%d %s epoch %s", v.Address, v.Port, v.Meta["member"], v.Meta["epoch"])
	}
	return all
}
