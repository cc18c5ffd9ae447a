// Command bench measures kaname side by side with what it is compared to, in one run,
// and writes bench/results.json and a table. Its figures are ratios: on a noisy machine
// only what was measured in the same run says anything.
//
// For the rib release it runs the demo, the main job with real processes on this
// machine, three times and takes medians; for the ribs zone and mysql the tests of
// bench/zone and bench/mysql in full size, with real servers. What was not measured in a
// run stays as it was.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// result is one line of bench/results.json.
type result struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Against string  `json:"against"` // what Ratio is to
	Ratio   float64 `json:"ratio"`
	Date    string  `json:"date"`
}

// summary is what the demo prints, as far as it is used here.
type summary struct {
	OK           bool    `json:"ok"`
	Full         float64 `json:"bytes_full"`
	Origin       float64 `json:"bytes_origin"`
	FullSecond   float64 `json:"bytes_full_second"`
	Delta        float64 `json:"bytes_delta"`
	OriginSecond float64 `json:"bytes_origin_second"`
	Deploy       float64 `json:"seconds_deploy"`
	DeployDelta  float64 `json:"seconds_delta"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	kaname := flag.String("kaname", "bin/kaname", "the binary to measure")
	hosts := flag.Int("hosts", 5, "hosts of the demo")
	release := flag.String("release", "", "tarball to release; by default one is made")
	rounds := flag.Int("rounds", 3, "runs of which the median is taken")
	out := flag.String("out", "bench/results.json", "where the results go")
	only := flag.String("only", "", "measure this rib alone: release, zone, mysql")
	which := flag.String("run", "", "of the ribs zone and mysql, only the tests that match")
	flag.Parse()
	var results []result
	if *only == "" || *only == "release" {
		list, err := releases(ctx, *kaname, *hosts, *release, *rounds)
		if err != nil {
			return err
		}
		results = append(results, list...)
	}
	for _, rib := range []string{"zone", "mysql"} {
		if *only != "" && *only != rib {
			continue
		}
		list, err := tests(ctx, rib, *which)
		results = append(results, list...)
		if err != nil {
			return errors.Join(err, keep(*out, results))
		}
	}
	return keep(*out, results)
}

// keep writes the results over earlier ones of the same names, and prints all.
func keep(path string, fresh []result) error {
	var all []result
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &all); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	all = slices.DeleteFunc(all, func(r result) bool {
		return slices.ContainsFunc(fresh, func(f result) bool { return f.Name == r.Name })
	})
	all = append(all, fresh...)
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(a.Name, b.Name) })
	if err := write(path, all); err != nil {
		return err
	}
	return table(all)
}

// tests runs the tests of a rib's folder here in full size; of a figure that is measured
// more than once the median counts.
func tests(ctx context.Context, rib, which string) ([]result, error) {
	dir, err := os.MkdirTemp("", "kaname-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	lines := filepath.Join(dir, "figures")
	c := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=4h", "-run="+which, "./bench/"+rib)
	c.Env = append(os.Environ(), "KANAME_BENCH="+lines)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	failed := c.Run()
	f, err := os.Open(lines)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	defer f.Close()
	measured := map[string][]result{}
	for d := json.NewDecoder(f); ; {
		var r result
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		measured[r.Name] = append(measured[r.Name], r)
	}
	var out []result
	for _, list := range measured {
		slices.SortFunc(list, func(a, b result) int { return cmp.Compare(a.Value, b.Value) })
		out = append(out, list[len(list)/2])
	}
	return out, failed
}

// releases measures the rib release.
func releases(ctx context.Context, kaname string, hosts int, release string, rounds int) ([]result, error) {
	var runs []summary
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "demo with %d hosts, run %d of %d\n", hosts, i+1, rounds)
		s, err := demo(ctx, kaname, hosts, release)
		if err != nil {
			return nil, err
		}
		runs = append(runs, s)
	}
	median := func(f func(summary) float64) float64 {
		v := make([]float64, 0, len(runs))
		for _, s := range runs {
			v = append(v, f(s))
		}
		slices.SortFunc(v, cmp.Compare)
		return v[len(v)/2]
	}
	date := time.Now().UTC().Format(time.RFC3339)
	line := func(name, unit, against string, value, base func(summary) float64) result {
		return result{name, median(value), unit, against, median(func(s summary) float64 { return value(s) / base(s) }), date}
	}
	full := func(s summary) float64 { return s.Full }
	return []result{
		line("release.demo_origin_bytes", "bytes", "one full pack", func(s summary) float64 { return s.Origin }, full),
		line("release.demo_delta_bytes", "bytes", "the second release's full pack", func(s summary) float64 { return s.Delta }, func(s summary) float64 { return s.FullSecond }),
		line("release.demo_delta_origin_bytes", "bytes", "the second release's full pack", func(s summary) float64 { return s.OriginSecond }, func(s summary) float64 { return s.FullSecond }),
		line("release.demo_delta_seconds", "s", "the first deploy", func(s summary) float64 { return s.DeployDelta }, func(s summary) float64 { return s.Deploy }),
	}, nil
}

// demo runs the main job once; the demo itself fails when anything is not as it should be.
func demo(ctx context.Context, kaname string, hosts int, release string) (s summary, err error) {
	args := []string{"demo", "--once", "-o", "json", "--progress", "none", "--hosts", strconv.Itoa(hosts)}
	if release != "" {
		args = append(args, "--release", release)
	}
	c := exec.CommandContext(ctx, kaname, args...)
	c.Stderr = os.Stderr
	b, err := c.Output()
	if err != nil {
		return s, fmt.Errorf("demo: %w", err)
	}
	return s, json.Unmarshal(b, &s)
}

func write(path string, results []result) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func table(results []result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVALUE\tUNIT\tRATIO\tTO")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%.6g\t%s\t%.4f\t%s\n", r.Name, r.Value, r.Unit, r.Ratio, r.Against)
	}
	return w.Flush()
}
