package nsd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"kaname.dev/kaname/rib/zone/server"
)

// prefix begins the names of our patterns; a zone with such a pattern is ours.
const prefix = "kaname-"

// folder is where the zone files of our zones are, below zonesdir.
const folder = "kaname"

// option are the lines that Template.Options may have: options of a zone but those
// that the driver writes itself, nsd.conf(5).
var option = regexp.MustCompile(`^(allow-query|allow-axfr-fallback|notify|notify-retry|store-ixfr|ixfr-number|ixfr-size|create-ixfr|` +
	`size-limit-xfr|max-refresh-time|min-refresh-time|max-retry-time|min-retry-time|min-expire-time|multi-master-check|zonestats|` +
	`outgoing-interface|rrl-whitelist|allow-notify|provide-xfr|include-pattern):[ \t]+[^"\\#\n:][^"\\#\n]*$`)

var plainKey = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// patternOf writes a template as a pattern of nsd.conf(5).
func patternOf(t server.Template) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "pattern:\n\tname: \"%s%s\"\n\tzonefile: \"%s/%%s.zone\"\n", prefix, t.ID(kind), folder)
	if len(t.Primaries) == 0 {
		return "", fmt.Errorf("%w: template %s has no primaries", server.ErrTemplate, t.Name)
	}
	for _, p := range t.Primaries {
		key := "NOKEY"
		if p.Key != "" {
			key = p.Key
		}
		if !plainKey.MatchString(key) {
			return "", fmt.Errorf("%w: template %s: the key %q has other characters than letters, digits, '.', '-' and '_'", server.ErrTemplate, t.Name, key)
		}
		a := p.Address
		fmt.Fprintf(&b, "\trequest-xfr: %s@%d %s\n\tallow-notify: %s %s\n", a.Addr(), a.Port(), key, a.Addr(), key)
		if key != "NOKEY" {
			// A NOTIFY only makes nsd ask the primary, which has to sign.
			fmt.Fprintf(&b, "\tallow-notify: %s NOKEY\n", a.Addr())
		}
	}
	for _, who := range t.Transfer {
		if err := provide(&b, who); err != nil {
			return "", fmt.Errorf("%w: template %s: transfer %q: %w", server.ErrTemplate, t.Name, who, err)
		}
	}
	for line := range strings.Lines(t.Options[kind]) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if !option.MatchString(line) {
			return "", fmt.Errorf("%w: template %s: the option %q is none of a zone in nsd.conf(5), or one that kaname writes", server.ErrTemplate, t.Name, line)
		}
		b.WriteString("\t" + line + "\n")
	}
	return b.String(), nil
}

// provide writes who may take transfers.
func provide(b *strings.Builder, who string) error {
	if key, ok := strings.CutPrefix(who, "key "); ok {
		if key = strings.TrimSpace(key); !plainKey.MatchString(key) {
			return errors.New("is no name of a key")
		}
		fmt.Fprintf(b, "\tprovide-xfr: 0.0.0.0/0 %s\n\tprovide-xfr: ::0/0 %s\n", key, key)
		return nil
	}
	if p, err := netip.ParsePrefix(who); err == nil {
		fmt.Fprintf(b, "\tprovide-xfr: %s NOKEY\n", p.Masked())
		return nil
	}
	a, err := netip.ParseAddr(who)
	if err != nil {
		return errors.New(`is no address, prefix or "key NAME"`)
	}
	fmt.Fprintf(b, "\tprovide-xfr: %s NOKEY\n", a)
	return nil
}

// keysOf are the TSIG keys that a template names.
func keysOf(t server.Template) []string {
	var keys []string
	for _, p := range t.Primaries {
		if p.Key != "" {
			keys = append(keys, p.Key)
		}
	}
	for _, who := range t.Transfer {
		if key, ok := strings.CutPrefix(who, "key "); ok {
			keys = append(keys, strings.TrimSpace(key))
		}
	}
	return keys
}

// ensurePattern makes nsd have the template's pattern. A pattern with an unknown key
// would keep nsd from starting, so the keys are looked for first.
func (d *driver) ensurePattern(ctx context.Context, t server.Template) error {
	text, err := patternOf(t)
	if err != nil {
		return err
	}
	c, err := d.settings()
	if err != nil || c.patternFile() == "" {
		return nil // nsd says whether it has the pattern
	}
	for _, key := range keysOf(t) {
		if !c.keys[strings.ToLower(strings.TrimSuffix(key, "."))] {
			return fmt.Errorf("%w: nsd.conf has no key %q; run kaname zone setup %s", server.ErrTemplate, key, d.o.Name)
		}
	}
	path := c.patternFile()
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%w: %w; run kaname zone setup %s", server.ErrTemplate, err, d.o.Name)
	}
	defer unlock()
	old, err := os.ReadFile(path) //nolint:gosec // included by the configured file
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", server.ErrTemplate, err)
	}
	name := fmt.Sprintf("name: %q\n", prefix+t.ID(kind))
	if strings.Contains(string(old), name) && d.loaded[t.ID(kind)] {
		return nil
	}
	if !strings.Contains(string(old), name) {
		if err := replace(path, string(old)+text); err != nil {
			return fmt.Errorf("%w: %w; let kaname write it, or run kaname zone setup %s", full(server.ErrTemplate, err), err, d.o.Name)
		}
	}
	reply, err := d.control.do(ctx, "reconfig", nil)
	if err != nil {
		return err
	}
	if strings.Contains(reply, "error") || !strings.Contains(reply, "ok") {
		_ = replace(path, string(old))
		_, _ = d.control.do(ctx, "reconfig", nil)
		return fmt.Errorf("%w: nsd refuses the pattern: %s", server.ErrTemplate, strings.TrimSpace(reply))
	}
	d.loaded[t.ID(kind)] = true
	return nil
}

// lock keeps other drivers of the same directory out until it is undone.
func lock(dir string) (func(), error) {
	f, err := os.Open(dir) //nolint:gosec // included by the configured file
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// replace writes a file that is whole at every moment, with the rights of its
// directory's owner.
func replace(path, text string) error {
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o640); err != nil { //nolint:gosec // nsd reads it
		return err
	}
	if up, err := os.Stat(filepath.Dir(path)); err == nil {
		give(next, up)
	}
	return os.Rename(next, path)
}

// give makes a file belong to whom another belongs, where that is allowed.
func give(path string, as os.FileInfo) {
	if st, ok := as.Sys().(*syscall.Stat_t); ok {
		_ = os.Lchown(path, int(st.Uid), int(st.Gid))
	}
}

// full returns ErrFull for an error of a full disk, else other.
func full(other, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return server.ErrFull
	}
	return other
}
