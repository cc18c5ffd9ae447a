package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/release/activate"
)

// Checks are what `kaname doctor` asks about a host. They need the configuration only, so
// they work also when no agent runs here.
func Checks(settings func() Settings) []rib.Check {
	return []rib.Check{
		{Name: "root of apps", Look: func(context.Context) rib.Verdict { return checkRoot(settings().Root) }},
		{Name: "space for releases", Look: func(context.Context) rib.Verdict { return checkSpace(settings().Root) }},
		{Name: "current of each app", Look: func(context.Context) rib.Verdict { return checkCurrent(settings()) }},
		{Name: "trusted keys", Look: func(context.Context) rib.Verdict { return checkKeys(settings()) }},
		{Name: "hook account", Look: func(context.Context) rib.Verdict { return checkHookUser(settings()) }},
	}
}

// existing returns the nearest directory at or above p that exists.
func existing(p string) string {
	for p != "/" {
		if _, err := os.Stat(p); err == nil {
			return p
		}
		p = filepath.Dir(p)
	}
	return p
}

func checkRoot(root string) rib.Verdict {
	at := existing(root)
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return rib.Verdict{Evidence: at + " is not writable for this user: " + err.Error(), Remedy: "run the agent as root, or give it a root of its own: release.root; under systemd also ReadWritePaths=" + root}
	}
	sp, err := host.DiskSpace(at)
	if err == nil && sp.Network() {
		return rib.Verdict{Warn: true, Evidence: root + " is on " + sp.FileSystem + ", where rename and fsync may not mean what they mean on a local disk", Remedy: "put release.root on a local file system"}
	}
	return rib.Verdict{OK: true, Evidence: root + " can be written"}
}

func checkSpace(root string) rib.Verdict {
	sp, err := host.DiskSpace(existing(root))
	if err != nil {
		return rib.Verdict{Evidence: err.Error()}
	}
	v := rib.Verdict{OK: true, Evidence: fmt.Sprintf("%s of %s free at %s (%s)", humanize.IBytes(uint64(sp.Free)), humanize.IBytes(uint64(sp.Total)), root, sp.FileSystem)}
	switch {
	case sp.Free < sp.Total/50:
		v.OK = false
	case sp.Free < sp.Total/10:
		v.OK, v.Warn = false, true
	case sp.FreeFiles >= 0 && sp.FreeFiles < 100_000:
		v.OK, v.Warn, v.Evidence = false, true, fmt.Sprintf("only %d inodes free at %s", sp.FreeFiles, root)
	}
	if !v.OK {
		v.Remedy = "remove old releases: kaname release prune APP --keep 3; or make the file system larger"
	}
	return v
}

func checkCurrent(c Settings) rib.Verdict {
	var wrong []string
	apps := 0
	for _, root := range append([]string{c.Root}, c.Roots...) {
		found, err := activate.Apps(root)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		for _, name := range found {
			apps++
			v, err := activate.Look(root, name)
			switch {
			case err != nil:
				wrong = append(wrong, name+": "+err.Error())
			case v.Problem != "":
				wrong = append(wrong, v.Problem)
			case v.Live != "" && !has(v.Releases, v.Live):
				wrong = append(wrong, "current of app "+name+" names "+v.Live+", which is not complete here")
			}
		}
	}
	if len(wrong) > 0 {
		return rib.Verdict{Evidence: strings.Join(wrong, "; "), Remedy: "deploy the app again, or point current to a release by hand"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d apps, each current names a complete release", apps)}
}

func has(list []activate.Release, version string) bool {
	for _, r := range list {
		if r.Version == version {
			return true
		}
	}
	return false
}

func checkKeys(c Settings) rib.Verdict {
	keys, err := ParseKeys(c.TrustedKeys)
	switch {
	case err != nil:
		return rib.Verdict{Evidence: err.Error(), Remedy: "correct release.trusted_keys"}
	case len(keys) == 0:
		return rib.Verdict{OK: true, Evidence: "none: releases are taken unsigned, on the word of the cores"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d, signatures required: %t", len(keys), c.RequireSignature)}
}

func checkHookUser(c Settings) rib.Verdict {
	if c.HookUser == "" {
		return rib.Verdict{OK: true, Evidence: "hooks run as the agent's own account"}
	}
	if _, err := host.LookupUser(c.HookUser); err != nil {
		return rib.Verdict{Evidence: err.Error(), Remedy: "make the account, or correct release.hook_user"}
	}
	return rib.Verdict{OK: true, Evidence: "hooks run as " + c.HookUser}
}
