package access

import (
	"os"
	"os/user"
	"slices"
	"strconv"

	"kaname.dev/kaname/fault"
)

// Group is the Unix group whose members are admins at the local socket.
const Group = "kaname"

// Peer is the process at the other end of a unix socket, as the kernel reports
// it (SO_PEERCRED and SO_PEERGROUPS, unix(7)).
type Peer struct {
	UID    int
	GID    int
	Groups []int // supplementary groups
	PID    int
}

// Unix returns the identity of a local process: root, the user that kaname itself
// runs as, and members of the group kaname are admins; others are refused.
func (a *Access) Unix(p Peer) (Identity, error) {
	id := Identity{Name: peerName(p.UID) + "@unix", Via: ViaUnix}
	if p.UID == 0 || p.UID == os.Geteuid() || inGroup(p) {
		id.Role = RoleAdmin
		return id, nil
	}
	return id, fault.Denied(id.Name + " may not use the local socket: neither root nor in the group " + Group).
		Try("run: sudo usermod -aG " + Group + " " + peerName(p.UID) + ", then sign in again")
}

func inGroup(p Peer) bool {
	g, err := user.LookupGroup(Group)
	if err != nil {
		return false
	}
	gid, err := strconv.Atoi(g.Gid)
	return err == nil && (p.GID == gid || slices.Contains(p.Groups, gid))
}

func peerName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid-" + strconv.Itoa(uid)
}
