package stretcher

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/release/manifest"
)

// Hooks returns the command lines that do on a host, around the switch to the release
// there, what stretcher does around its own: first among the post lines the one that
// makes Dest equal to the release. root is the archive's entry ".", nil if it has none;
// it decides the mode of Dest, as stretcher's README says.
//
// The lines stand on KANAME_RELEASE_PATH. Run for another release, as by a rollback,
// they bring that one's files to Dest.
func (m *Manifest) Hooks(root *manifest.Entry) Commands {
	c := m.Commands
	if m.Src == "" {
		return c
	}
	mode := uint32(*m.DestMode)
	if root != nil {
		mode = root.Mode
	}
	sync := m.rsync()
	if m.SyncStrategy == Move {
		sync = m.move()
	}
	sync += fmt.Sprintf(" && chmod %04o %s", mode, quote(m.Dest))
	c.Post = append([]string{sync}, c.Post...)
	return c
}

// rsync is the command that stretcher's README promises, -a --delete and the
// excludes, and --checksum: without it a file of the same size and time as the one
// before, as reproducible builds make them, is not brought up to date.
func (m *Manifest) rsync() string {
	args := []string{"rsync", "-a", "--delete", "--checksum"}
	if m.ExcludeFrom != "" {
		args = append(args, "--exclude-from", `"$KANAME_RELEASE_PATH"/`+quote(m.ExcludeFrom))
	}
	for _, x := range m.Excludes {
		args = append(args, "--exclude", quote(x))
	}
	return strings.Join(append(args, "--", `"$KANAME_RELEASE_PATH"/`, quote(m.Dest+"/")), " ")
}

// move puts a copy in place by one rename; the release itself stays where it is, for
// the next delta and for a rollback. As stretcher documents, an existing Dest is
// refused.
func (m *Manifest) move() string {
	dest, temp := quote(m.Dest), quote(m.Dest+".kaname-new")
	return fmt.Sprintf(`{ [ ! -e %[1]s ] && [ ! -L %[1]s ] || { echo %[3]s >&2; false; }; } && rm -rf %[2]s && cp -a --reflink=auto "$KANAME_RELEASE_PATH" %[2]s && mv -T %[2]s %[1]s`,
		dest, temp, quote("dest "+m.Dest+" exists already, and sync_strategy is mv; move it away in a pre command, or use rsync"))
}

// quote makes a text one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
