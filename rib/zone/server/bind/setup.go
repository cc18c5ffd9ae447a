package bind

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/server"
)

// statsPort is where the statistics channel goes when named has none.
const statsPort = 8653

// Setup returns the least that named's configuration needs: a file for the inside of
// its options, one for the outside, the driver's own file, and the lines that
// include them.
func Setup(s server.Setup) server.Recipe {
	dir := filepath.Dir(s.Options.Config)
	inside, outside := filepath.Join(dir, "kaname.options.conf"), filepath.Join(dir, "kaname.conf")
	c, err := named.Read(s.Options.Config)
	if err != nil { // it is not there yet, or not readable here
		c = &named.Config{Directory: "/var/cache/bind"}
	}
	view := named.DefaultView
	if s.Options.View != "" {
		view = s.Options.View
	}
	d := &driver{o: s.Options}
	zones := d.filePath(c, &named.View{Name: view})
	r := server.Recipe{
		Files: []server.File{
			{Path: inside, Mode: 0o640, Why: "zones can be added while named runs, and many transferred at a time", Text: insideText},
			{Path: outside, Mode: 0o640, Why: "the keys of transfers, and where zones are listed", Text: outsideText(s, c, outside)},
			{Path: zones, Mode: 0o640, Why: "zones that kaname adds many at once; it writes the file itself", Text: kept(zones)},
		},
		Commands: [][]string{
			{"chown", "--reference=" + c.Directory, filepath.Dir(zones), zones},
			{"chgrp", "--reference=" + s.Options.Config, inside, outside},
			{"named-checkconf", s.Options.Config},
			reconfig(s.Options),
		},
	}
	include := fmt.Sprintf("at its end: include %q; include %q;", outside, zones)
	if s.Options.View != "" {
		include = fmt.Sprintf("at its end: include %q; and inside of view %q: include %q;", outside, view, zones)
	}
	r.Notes = []string{
		fmt.Sprintf("put into %s, inside of options { }: include %q;", s.Options.Config, inside),
		fmt.Sprintf("put into %s, %s", s.Options.Config, include),
		fmt.Sprintf("named must take commands at %s with the key of %s (controls; Debian does at 127.0.0.1 port 953 with /etc/bind/rndc.key)", s.Options.Control, s.Options.KeyFile),
		"if named.conf sets one of the options of " + inside + " itself, take the line out of one of the two",
	}
	return r
}

// reconfig is the command that makes named read its configuration.
func reconfig(o server.Options) []string {
	command := []string{"rndc"}
	if host, port, err := net.SplitHostPort(o.Control); err == nil {
		command = append(command, "-s", host, "-p", port)
	}
	if o.KeyFile != "" {
		command = append(command, "-k", o.KeyFile)
	}
	return append(command, "reconfig")
}

const insideText = `# For kaname, inside of options.
allow-new-zones yes;
# A zone of rndc addzone takes 200 to 500 octets.
lmdb-mapsize 512M;
transfers-in 100;
transfers-per-ns 50;
serial-query-rate 1000;
`

// kept returns the driver's file as it is: a second setup loses no zones.
func kept(path string) string {
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 { //nolint:gosec // ours
		return string(b)
	}
	return fileHead
}

// outsideText writes what named.conf does not have elsewhere than in this file.
func outsideText(s server.Setup, c *named.Config, path string) string {
	var own []conf.Statement
	if b, err := os.ReadFile(path); err == nil { //nolint:gosec // ours
		own, _ = conf.Parse(string(b))
	}
	var b strings.Builder
	b.WriteString("# For kaname, outside of options and views.\n")
	if _, ours := conf.Find(own, "statistics-channels"); ours || c.Stats == "" {
		fmt.Fprintf(&b, "statistics-channels { inet 127.0.0.1 port %d allow { 127.0.0.1; }; };\n", statsPort)
	}
	have := map[string]bool{}
	for _, v := range c.Views {
		for k := range v.Keys {
			have[k] = true
		}
	}
	for _, st := range own {
		delete(have, named.KeyName(st.Word(1)))
	}
	for _, k := range s.Keys {
		if have[named.KeyName(k.Name)] {
			continue
		}
		name, err1 := conf.Quote(strings.TrimSuffix(k.Name, "."))
		algorithm, err2 := conf.Quote(strings.TrimSuffix(k.Algorithm, "."))
		secret, err3 := conf.Quote(k.Secret)
		if err1 != nil || err2 != nil || err3 != nil {
			b.WriteString("# A key of kaname has a name, an algorithm or a secret that cannot stand here.\n")
			continue
		}
		fmt.Fprintf(&b, "key %s { algorithm %s; secret %s; };\n", name, algorithm, secret)
	}
	if host, _, err := net.SplitHostPort(s.Options.Control); err == nil && host != "127.0.0.1" && host != "::1" && host != "localhost" {
		b.WriteString("# The command channel is not on loopback: who reaches it and has the key is root here.\n")
	}
	return b.String()
}
