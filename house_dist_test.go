package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/agent"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/lab"
)

func TestTheShippedConfigurationIsTheDefaults(t *testing.T) {
	shipped, err := config.Load(config.Options{File: "dist/kaname.yaml", Sections: agent.Sections(ribs())})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range shipped.Values() {
		if v.Origin != "default" {
			t.Errorf("%s is set to %s", v.Key, v.Value)
		}
	}
}

func TestUnitsAreUnderstoodBySystemd(t *testing.T) {
	analyze := lab.Need(t, "systemd-analyze")
	dir := t.TempDir()
	program := filepath.Join(dir, "kaname") // systemd looks whether it is there
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, name := range []string{"kaname.service", "kaname-agent.service"} {
		text, err := os.ReadFile(filepath.Join("dist", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := filepath.Join(dir, name)
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/kaname", program)), 0o644); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	res, err := host.Run(t.Context(), host.Command{Args: append([]string{analyze, "verify", "--man=no"}, units...)})
	for line := range strings.Lines(res.Output) {
		if strings.Contains(line, "kaname") {
			t.Error(line)
		}
	}
	if err != nil {
		t.Log(err) // complains about units of the machine, too
	}
}

func TestAlertsNameOurMetrics(t *testing.T) {
	raw, err := os.ReadFile("dist/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil || len(doc.Groups) == 0 {
		t.Fatalf("%v, %d groups", err, len(doc.Groups))
	}
	for _, r := range doc.Groups[0].Rules {
		if r.Expr == "" || r.Annotations["summary"] == "" || r.Annotations["remedy"] == "" {
			t.Errorf("alert %s lacks an expression, summary or remedy", r.Alert)
		}
	}
}

func TestPackagesHoldEverything(t *testing.T) {
	raw, err := os.ReadFile("dist/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Contents []struct{ Src, Dst string }
		Scripts  map[string]string
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Contents {
		if strings.HasPrefix(c.Src, "dist/out/") || c.Src == "bin/kaname" {
			continue // made by scripts/packages.sh
		}
		if _, err := os.Stat(c.Src); err != nil {
			t.Errorf("%s: %v", c.Dst, err)
		}
	}
	for _, s := range doc.Scripts {
		if info, err := os.Stat(s); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("script %s is missing or cannot be run: %v", s, err)
		}
	}
}
