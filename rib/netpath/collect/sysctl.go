package collect

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
)

// readSysctls reads facts.Wanted. What this kernel does not have is left out.
func (v *visit) readSysctls() {
	v.out.Sysctls = map[string]string{}
	for _, wanted := range facts.Wanted {
		before, after, each := strings.Cut(wanted, "*")
		if !each {
			v.sysctl(wanted, "/proc/sys/"+strings.ReplaceAll(wanted, ".", "/"))
			continue
		}
		// A link's name may have dots in it, so that only the rest is made a path.
		dir := "/proc/sys/" + strings.ReplaceAll(before, ".", "/")
		for _, conf := range v.confs() {
			v.sysctl(before+conf+after, dir+conf+strings.ReplaceAll(after, ".", "/"))
		}
	}
}

// confs lists what has a configuration of its own.
func (v *visit) confs() []string {
	out := []string{"all", "default"}
	for i := range v.out.Links {
		out = append(out, v.out.Links[i].Name)
	}
	return out
}

func (v *visit) sysctl(key, path string) {
	b, err := os.ReadFile(path) //nolint:gosec // of /proc/sys
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		v.lack(facts.Sysctls, err)
	default:
		v.out.Sysctls[key] = strings.TrimSpace(string(b))
	}
}
