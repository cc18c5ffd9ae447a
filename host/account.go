package host

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// User is an account of this machine.
type User struct {
	Name   string
	UID    int
	GID    int   // of the primary group
	Groups []int // all groups, the primary one included
	Home   string
}

// LookupUser finds an account by name or by number. The error says whether the
// account is missing or could not be looked up.
func LookupUser(name string) (*User, error) {
	u, err := user.Lookup(name)
	if _, missing := errors.AsType[user.UnknownUserError](err); missing {
		if _, numeric := strconv.Atoi(name); numeric == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	out := &User{Name: u.Username, Home: u.HomeDir}
	if out.UID, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user %q: uid: %w", name, err)
	}
	if out.GID, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("user %q: gid: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user %q: groups: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			out.Groups = append(out.Groups, n)
		}
	}
	if !slices.Contains(out.Groups, out.GID) {
		out.Groups = append(out.Groups, out.GID)
	}
	return out, nil
}

// LookupGroup returns the number of a group given by name or by number.
func LookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if _, missing := errors.AsType[user.UnknownGroupError](err); missing {
		if n, numeric := strconv.Atoi(name); numeric == nil {
			return n, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

func (u *User) credential() *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	for _, g := range u.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}
