package consul_test

import (
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/consul"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/topology"
)

var consulAt = flag.String("consul", "", "address of a real Consul, http://…, which the tests may write to")

// bed is a Consul, real or not.
type bed struct {
	address  string
	standIn  *standIn // nil: a real one
	keys     func() map[string]string
	services func() map[string]string
}

func newBed(t testing.TB) *bed {
	if *consulAt != "" {
		return realBed(t)
	}
	s := newStandIn(t)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &bed{srv.URL, s, s.keys, s.services}
}

func realBed(t testing.TB) *bed {
	c, err := api.NewClient(&api.Config{Address: *consulAt})
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"kaname/mysql/", "mysql/master/", "other/"} {
		if _, err := c.KV().DeleteTree(prefix, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Catalog().Deregister(&api.CatalogDeregistration{Node: "kaname-mysql-shop"}, nil); err != nil {
		t.Fatal(err)
	}
	return &bed{address: *consulAt, keys: func() map[string]string {
		all := map[string]string{}
		pairs, _, err := c.KV().List("", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			all[p.Key] = string(p.Value)
		}
		return all
	}, services: func() map[string]string {
		all := map[string]string{}
		names, _, err := c.Catalog().Services(nil)
		if err != nil {
			t.Fatal(err)
		}
		delete(names, "consul")
		for name := range names {
			list, _, err := c.Catalog().Service(name, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range list {
				all[name] = fmt.Sprintf("%s:%d %s epoch %s", v.ServiceAddress, v.ServicePort, v.ServiceMeta["member"], v.ServiceMeta["epoch"])
			}
		}
		return all
	}}
}

func (b *bed) driver(t testing.TB, more map[string]string) endpoint.Driver {
	t.Helper()
	settings := map[string]string{"address": b.address}
	maps.Copy(settings, more)
	d, err := consul.New(endpoint.Options{Topology: "shop", Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func target(epoch uint64, i int) endpoint.Target {
	return endpoint.Target{
		Topology: "shop", Epoch: epoch,
		Primary:  &topology.Member{Name: fmt.Sprintf("db%d", i), Host: fmt.Sprintf("db%d", i), Address: fmt.Sprintf("192.0.2.%d:3306", i)},
		Replicas: []topology.Member{{Name: "db9", Address: "192.0.2.9:3306"}},
	}
}

func TestWhatIsWritten(t *testing.T) {
	b := newBed(t)
	d := b.driver(t, map[string]string{"service": "shop-db"})
	for range 2 { // the second changes nothing
		if err := d.Publish(t.Context(), target(7, 2)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{
			"kaname/mysql/shop":          `{"topology":"shop","epoch":7,"name":"db2","host":"db2","address":"192.0.2.2:3306","ip":"192.0.2.2","port":3306,"replicas":["192.0.2.9:3306"]}`,
			"kaname/mysql/shop/primary":  "192.0.2.2:3306",
			"mysql/master/shop":          "192.0.2.2:3306",
			"mysql/master/shop/hostname": "192.0.2.2",
			"mysql/master/shop/port":     "3306",
			"mysql/master/shop/ipv4":     "192.0.2.2",
		}, b.keys()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"shop-db": "192.0.2.2:3306 db2 epoch 7"}, b.services()); diff != "" {
			t.Error(diff)
		}
	}
	got, err := d.Current(t.Context())
	want := endpoint.Target{Topology: "shop", Epoch: 7, Primary: target(7, 2).Primary}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}

	// An address of IPv6 takes the place of one of IPv4.
	six := target(8, 3)
	six.Primary.Address, six.Replicas = "[2001:db8::3]:3307", nil
	if err := d.Publish(t.Context(), six); err != nil {
		t.Fatal(err)
	}
	if keys := b.keys(); keys["mysql/master/shop/ipv6"] != "2001:db8::3" || keys["mysql/master/shop/ipv4"] != "" || keys["mysql/master/shop/port"] != "3307" {
		t.Errorf("keys are %v", keys)
	}

	for range 2 {
		if err := d.Withdraw(t.Context(), target(9, 2)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"kaname/mysql/shop": `{"topology":"shop","epoch":9}`}, b.keys()); diff != "" {
			t.Error(diff)
		}
		if s := b.services(); len(s) > 0 {
			t.Errorf("services are left: %v", s)
		}
	}
	if got, err := d.Current(t.Context()); err != nil || got.Primary != nil {
		t.Errorf("current is %+v, %v; want nowhere", got, err)
	}
}

func TestALowerEpochChangesNothing(t *testing.T) {
	b := newBed(t)
	if err := b.driver(t, nil).Publish(t.Context(), target(7, 2)); err != nil {
		t.Fatal(err)
	}
	was := b.keys()
	late := b.driver(t, map[string]string{"service": "shop-db"})
	if err := late.Publish(t.Context(), target(6, 1)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("epoch 6 after 7: %v", err)
	}
	if err := late.Withdraw(t.Context(), target(6, 1)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("withdrawn with epoch 6 after 7: %v", err)
	}
	if diff := cmp.Diff(was, b.keys()); diff != "" {
		t.Error(diff)
	}
	if s := b.services(); len(s) > 0 {
		t.Errorf("a service was registered: %v", s)
	}
}

func TestTheHighestEpochWinsWhateverTheOrder(t *testing.T) {
	b := newBed(t)
	const last = 24
	var all sync.WaitGroup
	for epoch := uint64(1); epoch <= last; epoch++ {
		d := b.driver(t, nil)
		all.Go(func() {
			if err := d.Publish(t.Context(), target(epoch, int(epoch))); err != nil && !errors.Is(err, endpoint.ErrOld) {
				t.Errorf("epoch %d: %v", epoch, err)
			}
		})
	}
	all.Wait()
	got, err := b.driver(t, nil).Current(t.Context())
	if err != nil || got.Epoch != last {
		t.Errorf("current is %+v, %v; want epoch %d", got, err, last)
	}
	keys := b.keys()
	for _, key := range []string{"kaname/mysql/shop/primary", "mysql/master/shop"} {
		if want := fmt.Sprintf("192.0.2.%d:3306", last); keys[key] != want {
			t.Errorf("%s is %s, want %s", key, keys[key], want)
		}
	}
}

func TestANewerOneInBetweenIsSeen(t *testing.T) {
	b := newBed(t)
	if b.standIn == nil {
		t.Skip("a real Consul cannot be stopped in between")
	}
	newer, older := b.driver(t, nil), b.driver(t, nil)
	b.standIn.before = func() {
		if err := newer.Publish(t.Context(), target(9, 3)); err != nil {
			t.Error(err)
		}
	}
	if err := older.Publish(t.Context(), target(8, 2)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("epoch 8, while 9 was written: %v", err)
	}
	if got := b.keys()["mysql/master/shop"]; got != "192.0.2.3:3306" {
		t.Errorf("clients are led to %s", got)
	}
}

func TestPrefixes(t *testing.T) {
	b := newBed(t)
	d := b.driver(t, map[string]string{"prefix": "/other/", "orchestrator": "no"})
	if err := d.Publish(t.Context(), target(1, 1)); err != nil {
		t.Fatal(err)
	}
	keys := b.keys()
	if len(keys) != 2 || keys["other/shop/primary"] != "192.0.2.1:3306" {
		t.Errorf("keys are %v", keys)
	}
}

func TestAForeignKeyIsNotOverwritten(t *testing.T) {
	b := newBed(t)
	if b.standIn == nil {
		t.Skip("needs the stand-in")
	}
	b.standIn.kv["kaname/mysql/shop"] = &api.KVPair{Key: "kaname/mysql/shop", Value: []byte("something"), ModifyIndex: 3}
	err := b.driver(t, nil).Publish(t.Context(), target(1, 1))
	if err == nil || !strings.Contains(err.Error(), "is not kaname's") {
		t.Errorf("a foreign key: %v", err)
	}
}

func TestTokenIsReadEachTimeAndNeverShown(t *testing.T) {
	b := newBed(t)
	if b.standIn == nil {
		t.Skip("needs the stand-in")
	}
	b.standIn.token = "first-secret"
	file := filepath.Join(t.TempDir(), "token")
	d := b.driver(t, map[string]string{"token_file": file})
	publish := func(token string) error {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return d.Publish(t.Context(), target(1, 1))
	}
	if err := d.Publish(t.Context(), target(1, 1)); err == nil || !strings.Contains(err.Error(), "token_file") {
		t.Errorf("without the file: %v", err)
	}
	if err := publish("first-secret"); err != nil {
		t.Fatal(err)
	}
	b.standIn.token = "second-secret"
	err := d.Publish(t.Context(), target(1, 1))
	if err == nil || !strings.Contains(err.Error(), "ermission denied") || strings.Contains(err.Error(), "secret") {
		t.Errorf("with an old token: %v", err)
	}
	if err := publish("second-secret"); err != nil {
		t.Errorf("with the new token: %v", err)
	}
}

func TestTLS(t *testing.T) {
	s := newStandIn(t)
	srv := httptest.NewTLSServer(s)
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bed{address: srv.URL}
	if err := b.driver(t, map[string]string{"ca_file": ca}).Publish(t.Context(), target(1, 1)); err != nil {
		t.Error(err)
	}
	if err := b.driver(t, nil).Publish(t.Context(), target(1, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody known has signed: %v", err)
	}
	if err := b.driver(t, map[string]string{"ca_file": ca, "server_name": "else.where"}).Publish(t.Context(), target(1, 1)); err == nil {
		t.Error("another name than the certificate's is taken")
	}
}

func TestWhatDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := newBed(t)
	if err := b.driver(t, nil).Publish(ctx, target(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	nobody := &bed{address: "http://127.0.0.1:1"}
	if err := nobody.driver(t, nil).Publish(t.Context(), target(1, 1)); err == nil || !strings.Contains(err.Error(), "kaname/mysql/shop in Consul") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestConform(t *testing.T) {
	b := newBed(t)
	conform := endpointtest.Bench{
		New: consul.New, Members: []topology.Member{*target(1, 1).Primary, *target(1, 2).Primary},
		Settings: map[string]string{"address": b.address, "service": "shop-db"},
		Epochs:   endpointtest.Kept, Unreachable: map[string]string{"address": "http://127.0.0.1:1"}, Where: "kaname/mysql/shop",
		Reach: func(context.Context) (string, error) {
			keys, services := b.keys(), b.services()
			for _, name := range []string{"db1", "db2"} {
				address := strings.Replace(name, "db", "192.0.2.", 1) + ":3306"
				if keys["mysql/master/shop"] == address && keys["kaname/mysql/shop/primary"] == address && strings.HasPrefix(services["shop-db"], address+" "+name) {
					return name, nil
				}
			}
			return "", fmt.Errorf("keys %v, services %v", keys, services)
		},
	}
	if b.standIn != nil {
		conform.Break = func(*testing.T) func() {
			b.standIn.lock.Lock()
			defer b.standIn.lock.Unlock()
			b.standIn.token = "somebody else's"
			return func() {
				b.standIn.lock.Lock()
				defer b.standIn.lock.Unlock()
				b.standIn.token = ""
			}
		}
	}
	endpointtest.Conform(t, conform)
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		settings map[string]string
		want     string
	}{
		{map[string]string{"addr": "http://127.0.0.1:8500"}, "known are address, ca_file"},
		{map[string]string{"address": "127.0.0.1:8500"}, "must begin with http"},
		{map[string]string{"prefix": "/"}, "prefix must not be empty"},
		{map[string]string{"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
	} {
		if _, err := consul.New(endpoint.Options{Topology: "shop", Settings: c.settings}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.settings, err, c.want)
		}
	}
	bad := target(1, 1)
	bad.Primary.Address = "192.0.2.1"
	if err := newBed(t).driver(t, nil).Publish(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "address of db1") {
		t.Errorf("an address without a port: %v", err)
	}
}
