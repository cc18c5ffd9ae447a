// Package exec is the driver that is made of commands, for servers that kaname has no
// driver of: a server is then added by configuration alone.
//
// List prints one zone a line: its name; then, separated by blanks, the template it
// was added with ("-" for a zone that is not kaname's), 1 or 0 for loaded or not, and the
// serial; what is missing at the end is unknown. Add reads one zone a line: name,
// template, and every primary as ADDRESS@PORT or ADDRESS@PORT@KEY, separated by tabs.
// Remove and Kick read one name a line. Names come in canonical form: absolute, in
// lower case, only letters, digits, '-', '_' and '.', other octets as \DDD. Probe prints the
// server's version.
//
// A zone that cannot be added or removed is told on standard output, "NAME TAB why"; the
// command still ends with status 0. Why begins with "name:" when the server can hold
// no such name. Statuses of sysexits(3) mean: 69 the server does not answer, 73 its disk
// is full, 77 it refuses; any other but 0 fails all. A command is killed when its time
// is over. Commands are run as they are, without a shell.
package exec

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// kind is the server's kind, and the key of its words in Template.Options.
const kind = "exec"

// batch is how many zones are best given at once.
const batch = 20000

type driver struct {
	o server.Options
}

// New returns the driver. List, Add and Remove of Exec must be there.
func New(o server.Options) (server.Driver, error) {
	for what, argv := range map[string][]string{"list": o.Exec.List, "add": o.Exec.Add, "remove": o.Exec.Remove} {
		if len(argv) == 0 || argv[0] == "" {
			return nil, fmt.Errorf("server %s of kind exec has no command %s; give it under exec", o.Name, what)
		}
	}
	return &driver{o: o}, nil
}

func (d *driver) Close() error { return nil }

// Probe runs the command probe, or lists.
func (d *driver) Probe(ctx context.Context) (server.Info, error) {
	info := server.Info{Kind: kind, Version: "unknown", Batch: batch}
	if len(d.o.Exec.Probe) == 0 {
		_, err := d.List(ctx)
		return info, err
	}
	out, err := d.run(ctx, d.o.Exec.Probe, "")
	if err != nil {
		return info, err
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(out), "\n"); line != "" {
		info.Version = line
	}
	return info, nil
}

// List runs the command list.
func (d *driver) List(ctx context.Context) ([]server.Zone, error) {
	out, err := d.run(ctx, d.o.Exec.List, "")
	if err != nil {
		return nil, err
	}
	var zones []server.Zone
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		z, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s printed the line %q: %w", d.o.Exec.List[0], strings.TrimSpace(line), err)
		}
		zones = append(zones, z)
	}
	return zones, nil
}

// parseLine reads a line of the command list.
func parseLine(line string) (server.Zone, error) {
	words := strings.Fields(line)
	n, err := name.Parse(words[0])
	if err != nil {
		return server.Zone{}, fmt.Errorf("the name %w", err)
	}
	z := server.Zone{Name: n, Present: true}
	if len(words) > 1 && words[1] != "-" {
		z.Owned, z.Template = true, words[1]
	}
	if len(words) > 2 {
		switch words[2] {
		case "1":
			z.Loaded = true
		case "0":
			z.Note = "not loaded, as the command list says"
		default:
			return z, errors.New("the third word is neither 1 nor 0")
		}
	}
	if len(words) > 3 {
		serial, err := strconv.ParseUint(words[3], 10, 32)
		if err != nil {
			return z, errors.New("the fourth word is no serial")
		}
		z.Serial = uint32(serial)
	}
	return z, nil
}

// Status looks into the list.
func (d *driver) Status(ctx context.Context, zones []name.Name) ([]server.Zone, error) {
	have, err := d.have(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]server.Zone, len(zones))
	for i, n := range zones {
		out[i] = have[n]
		out[i].Name = n
	}
	return out, nil
}

func (d *driver) have(ctx context.Context) (map[name.Name]server.Zone, error) {
	list, err := d.List(ctx)
	have := make(map[name.Name]server.Zone, len(list))
	for _, z := range list {
		have[z.Name] = z
	}
	return have, err
}

// Kick runs the command kick, if there is one.
func (d *driver) Kick(ctx context.Context, zones []name.Name) error {
	if len(d.o.Exec.Kick) == 0 || len(zones) == 0 {
		return ctx.Err()
	}
	var in strings.Builder
	for _, n := range zones {
		in.WriteString(n.String() + "\n")
	}
	out, err := d.run(ctx, d.o.Exec.Kick, in.String())
	if err != nil {
		return err
	}
	var errs []error
	for n, why := range complaints(out) {
		errs = append(errs, fmt.Errorf("zone %s: %w", n, why))
	}
	return errors.Join(errs...)
}
