package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/facts"
)

// Natively is what Missing calls rules of nftables that iptables-save cannot show.
const Natively = "nftables"

// tables are the tables of iptables.
var tables = []string{"filter", "nat", "mangle", "raw", "security"}

// readFilters reads iptables' rules by its own programs, but asks the kernel first which
// tables there are: asking for one that is not there would make it.
func (v *visit) readFilters(ctx context.Context) {
	byFamily, err := nftTables()
	if err != nil {
		v.lack(facts.Filters, err)
		return
	}
	var others []string
	for family, names := range byFamily {
		for _, n := range names {
			if !(family == unix.AF_INET || family == unix.AF_INET6) || !slices.Contains(tables, n) {
				others = append(others, families[family]+" "+n)
			}
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		v.lack(Natively, fmt.Errorf("tables %s are not in what iptables-save shows; nft list ruleset", strings.Join(others, ", ")))
	}
	v.out.IPTables4 = v.save(ctx, "iptables", "ip_tables_names", byFamily[unix.AF_INET])
	v.out.IPTables6 = v.save(ctx, "ip6tables", "ip6_tables_names", byFamily[unix.AF_INET6])
	if !strings.Contains(v.out.IPTables4, "--match-set") && !strings.Contains(v.out.IPTables6, "--match-set") {
		return // ipset would load its module to say that there are none
	}
	path, err := find("ipset")
	if err == nil {
		v.out.IPSets, _, err = ask(ctx, isSet, path, "save")
	}
	if err != nil {
		v.lack(facts.Sets, err)
	}
}

func isSet(line string) bool {
	return strings.HasPrefix(line, "create ") || strings.HasPrefix(line, "add ")
}

func isRule(line string) bool {
	return line == "COMMIT" || strings.HasPrefix(line, "*") || strings.HasPrefix(line, ":") || strings.HasPrefix(line, "[") || strings.HasPrefix(line, "-")
}

// save reads the rules of one family: those of the old tables, of nftables, or of both.
func (v *visit) save(ctx context.Context, program, listing string, nft []string) string {
	var text []string
	legacy, err := os.ReadFile(self + "/net/" + listing)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.lack(facts.Filters, err)
		return ""
	}
	if len(legacy) > 0 {
		text = append(text, v.run(ctx, program, "legacy"))
	}
	if slices.ContainsFunc(nft, func(t string) bool { return slices.Contains(tables, t) }) {
		text = append(text, v.run(ctx, program, "nft"))
	}
	if len(text) > 1 {
		v.lack(facts.Filters, fmt.Errorf("%s has rules in the old tables and in nftables, both of which packets must pass; remove those that nobody maintains", program))
	}
	return strings.Join(text, "")
}

// run runs the save program of a variant.
func (v *visit) run(ctx context.Context, program, variant string) string {
	names := []string{program + "-" + variant + "-save"}
	// Before there were two, the program without a variant in its name is the one for the old tables.
	if real, err := find(program + "-save"); err == nil {
		if to, err := filepath.EvalSymlinks(real); err == nil && strings.Contains(to, "nft") == (variant == "nft") {
			names = append(names, program+"-save")
		}
	}
	path, err := find(names...)
	if err != nil {
		v.lack(facts.Filters, err)
		return ""
	}
	text, complaint, err := ask(ctx, isRule, path, "-c")
	if err == nil && strings.Contains(complaint, "incompatible") {
		err = errors.New(complaint)
	}
	if err != nil {
		v.lack(facts.Filters, err)
	}
	return text
}

// families are nftables' names of families (linux/netfilter.h, NFPROTO_*).
var families = map[uint8]string{1: "inet", unix.AF_INET: "ip", 3: "arp", 5: "netdev", 7: "bridge", unix.AF_INET6: "ip6"}

// nftTables lists the tables of nftables by family.
func nftTables() (map[uint8][]string, error) {
	const subsystem, getTable, tableName = 10, 1, 1 // linux/netfilter/nfnetlink.h, nf_tables.h
	if !loaded("nf_tables") {
		return nil, nil
	}
	req := nl.NewNetlinkRequest(subsystem<<8|getTable, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC})
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil // a kernel without nftables
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of nftables: %w", err)
	}
	out := map[uint8][]string{}
	for _, m := range answers {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("list tables of nftables: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == tableName {
				out[m[0]] = append(out[m[0]], strings.TrimRight(string(a.Value), "\x00"))
			}
		}
	}
	return out, nil
}
