package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

var hosts = []string{"c1", "c2", "n1"}

// record writes every host's raw state, the API's answers and the variables of the
// faults' commands below dir.
func (c *cloud) record(ctx context.Context, dir string) error {
	if err := c.recordHosts(ctx, dir, hosts); err != nil {
		return err
	}
	return c.recordAPI(ctx, filepath.Join(dir, "api"))
}

func (c *cloud) recordHosts(ctx context.Context, dir string, hosts []string) error {
	script, err := filepath.Abs(filepath.Join(c.here, "real", "record.sh"))
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		wg.Go(func() {
			to := filepath.Join(dir, h)
			if err := os.RemoveAll(to); err != nil {
				errs[i] = err
				return
			}
			if out, err := c.on(ctx, h, "nice", "-n", "5", script, to).CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("record %s: %w: %s", h, err, out)
				return
			}
			text, err := c.vars(ctx, h)
			if err == nil {
				err = os.WriteFile(filepath.Join(to, "vars.sh"), []byte(text), 0o600)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var collections = []string{
	"networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules",
	"agents", "address-scopes", "subnetpools", "availability_zones", "extensions", "service-providers",
}

func (c *cloud) recordAPI(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	get := func(path string) error {
		b, err := api(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		file := strings.NewReplacer("/", "_", "availability_zones", "availability-zones").Replace(path)
		return os.WriteFile(filepath.Join(dir, file+".json"), b, 0o600)
	}
	for _, path := range collections {
		if err := get(path); err != nil {
			return err
		}
	}
	for _, r := range c.Routers {
		if err := get("routers/" + r.id() + "/l3-agents"); err != nil {
			return err
		}
	}
	for _, n := range c.Nets {
		if err := get("networks/" + n.id() + "/dhcp-agents"); err != nil {
			return err
		}
	}
	agents, err := list(ctx, "agents")
	if err != nil {
		return err
	}
	for _, a := range agents {
		switch a.str("agent_type") {
		case "L3 agent":
			err = get("agents/" + a.id() + "/l3-routers")
		case "DHCP agent":
			err = get("agents/" + a.id() + "/dhcp-networks")
		}
		if err != nil {
			return err
		}
	}
	topo, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "topo.json"), topo, 0o600)
}
