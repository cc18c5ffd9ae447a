// Command real is the part of the real Neutron lab that talks to it: cloud.sh brings
// the hosts and Neutron's processes up, this makes networks, routers and fake VMs
// through the API, probes who reaches whom, breaks things by the catalogue
// ../faults.yaml, mends them, and records every host's raw state on the way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const usage = `real [-lab DIR] COMMAND
  topo                  make the networks, routers and VMs of topo.go, wait until they work
  probe                 run every probe once
  record DIR            write every host's raw state and the API's answers below DIR
  vars HOST             print the shell variables that the faults' commands use there
  faults DIR [ID...]    inject, probe, record below DIR, mend, probe again: all or some faults
  settle                wait until every probe says what it should
  serve PORT...         (inside a VM) answer TCP connections
  discover DEVICE MAC   (inside a VM) send a DHCP DISCOVER, wait for the OFFER`

func main() {
	lab := flag.String("lab", "/var/tmp/kaname-lab", "where cloud.sh keeps its things")
	here := flag.String("here", "lab/neutron", "the folder with faults.yaml and real/record.sh")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &cloud{dir: *lab, here: *here}, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c *cloud, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	rest := args[1:]
	switch args[0] {
	case "serve":
		return serve(ctx, rest)
	case "discover":
		if len(rest) != 2 {
			return errors.New(usage)
		}
		return discover(rest[0], rest[1])
	case "topo":
		return c.make(ctx)
	}
	if err := c.load(); err != nil {
		return err
	}
	switch {
	case args[0] == "probe":
		printProbes(c.probe(ctx))
		return nil
	case args[0] == "settle":
		return c.settle(ctx, 10*time.Minute)
	case args[0] == "record" && len(rest) == 1:
		return c.record(ctx, rest[0])
	case args[0] == "vars" && len(rest) == 1:
		text, err := c.vars(ctx, rest[0])
		fmt.Print(text)
		return err
	case args[0] == "faults" && len(rest) > 0:
		return c.faults(ctx, rest[0], rest[1:])
	}
	return errors.New(usage)
}

// serve answers on TCP ports until ctx ends: one line, then the end.
func serve(ctx context.Context, ports []string) error {
	for _, p := range ports {
		n, err := strconv.Atoi(p)
		if err != nil {
			return fmt.Errorf("port %q: %w", p, err)
		}
		if err := answer(ctx, n); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
