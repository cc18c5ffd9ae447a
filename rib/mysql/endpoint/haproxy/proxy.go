package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
)

// bound is the most that one command may take.
const bound = 3 * time.Second

// proxy is one HAProxy.
type proxy struct {
	at       string
	variable string // of the process, in which the epoch is kept
}

// command sends one command and returns the answer.
func (p *proxy) command(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(p.at, "/") {
		network = "unix"
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, p.at)
	if err != nil {
		return "", fmt.Errorf("%w; does HAProxy run, with a stats socket of level admin there?", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err = io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	answer := strings.TrimSpace(string(b))
	if strings.HasPrefix(answer, "Permission denied") {
		return "", fmt.Errorf("%q: permission denied; the socket needs \"level admin\"", line)
	}
	return answer, nil
}

// guard refuses an epoch lower than the one that the HAProxy keeps, and keeps this one, until
// HAProxy is reloaded. Two who come at the same instant are told apart by the controller's
// lease, not here. Versions before 2.5 keep nothing.
func (p *proxy) guard(ctx context.Context, epoch uint64) error {
	known, err := p.epoch(ctx)
	if err != nil {
		return err
	}
	if epoch < known {
		return fmt.Errorf("epoch %d, known is %d: %w", epoch, known, endpoint.ErrOld)
	}
	_, err = p.command(ctx, fmt.Sprintf("experimental-mode on; set var %s int(%d)", p.variable, epoch))
	return err
}

func (p *proxy) epoch(ctx context.Context) (uint64, error) {
	answer, err := p.command(ctx, "get var "+p.variable)
	if err != nil {
		return 0, err
	}
	_, value, ok := strings.Cut(answer, "value=<")
	if !ok {
		return 0, nil // not yet, or not in this version
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(value, ">"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("variable %s holds %q, which is no epoch; something else sets it", p.variable, value)
	}
	return n, nil
}

// slot is one server of a backend as HAProxy describes it.
type slot struct {
	name    string
	address string // IP:port
	open    bool
}

// slots lists the servers of a backend.
func (p *proxy) slots(ctx context.Context, backend string) ([]slot, error) {
	answer, err := p.command(ctx, "show servers state "+backend)
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(answer, "\n")
	if version != "1" {
		return nil, fmt.Errorf("there is no backend %s (%q); Setup says what HAProxy's configuration needs", backend, version)
	}
	heads, rest, _ := strings.Cut(rest, "\n")
	var list []slot
	for line := range strings.Lines(rest) {
		col := map[string]string{}
		values := strings.Fields(line)
		for i, h := range strings.Fields(strings.TrimPrefix(heads, "#")) {
			if i < len(values) {
				col[h] = values[i]
			}
		}
		// srv_op_state: 0 is stopped. srv_admin_state: bits 0 and 1 are maintenance, by
		// command or inherited, 3 and 4 draining; bit 2 says that the configuration had it so.
		admin, err := strconv.Atoi(col["srv_admin_state"])
		if err != nil {
			return nil, fmt.Errorf("the state of backend %s cannot be read: %q", backend, line)
		}
		list = append(list, slot{
			name: col["srv_name"], address: net.JoinHostPort(col["srv_addr"], col["srv_port"]),
			open: col["srv_op_state"] != "0" && admin&^4 == 0,
		})
	}
	return list, nil
}

func (p *proxy) slot(ctx context.Context, backend, server string) (slot, error) {
	list, err := p.slots(ctx, backend)
	if err != nil {
		return slot{}, err
	}
	for _, s := range list {
		if s.name == server {
			return s, nil
		}
	}
	return slot{}, fmt.Errorf("backend %s has no server %s; Setup says what HAProxy's configuration needs", backend, server)
}

// open leads a slot to an address. What leads elsewhere is closed first: so a slot is
// never open with connections to two servers.
func (p *proxy) open(ctx context.Context, backend, server, address string) error {
	host, port, err := split(address)
	if err != nil {
		return err
	}
	address = net.JoinHostPort(host, strconv.Itoa(port))
	s, err := p.slot(ctx, backend, server)
	if err != nil || s.open && s.address == address {
		return err
	}
	if err = p.shut(ctx, backend, server); err != nil {
		return err
	}
	at := backend + "/" + server
	said, err := p.command(ctx, fmt.Sprintf("set server %s addr %s port %d", at, host, port))
	if err == nil {
		_, err = p.command(ctx, "set server "+at+" state ready")
	}
	if err != nil {
		return err
	}
	if s, err = p.slot(ctx, backend, server); err == nil && (!s.open || s.address != address) {
		err = fmt.Errorf("server %s is at %s and open: %t, not at %s and open: %q", at, s.address, s.open, address, said)
	}
	return err
}

// shut closes a slot for new connections and cuts those that are there. Both are done even
// where the slot is shut: a former call may have been cut short.
func (p *proxy) shut(ctx context.Context, backend, server string) error {
	at := backend + "/" + server
	said, err := p.command(ctx, "set server "+at+" state maint")
	if err == nil {
		_, err = p.command(ctx, "shutdown sessions server "+at)
	}
	if err != nil {
		return err
	}
	s, err := p.slot(ctx, backend, server)
	if err == nil && s.open {
		err = errors.New("server " + at + " stays open: " + said)
	}
	return err
}
