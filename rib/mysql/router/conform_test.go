package router_test

import (
	"testing"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/router"
)

func TestConforms(t *testing.T) {
	r, addr := serve(t, router.Options{Drain: 100e6})
	endpointtest.Conform(t, endpointtest.Bench{
		New:     func(endpoint.Options) (endpoint.Driver, error) { return r, nil },
		Members: endpointtest.Servers(t, "db1", "db2"),
		Dial:    endpointtest.At(addr),
		Epochs:  endpointtest.Kept,
	})
}
