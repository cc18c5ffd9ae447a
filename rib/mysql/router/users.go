package router

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// users are the accounts of a file, which is read again when it changes.
type users struct {
	path string

	mu     sync.Mutex
	read   time.Time // its modification time when it was read
	size   int64
	byName map[string]string
}

func openUsers(path string) (*users, error) {
	u := &users{path: path}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.refresh(); err != nil {
		return nil, err
	}
	return u, nil
}

// password returns the password of a user. While the file cannot be read, what was read
// last counts; err says so.
func (u *users) password(name string) (password string, ok bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	err = u.refresh()
	password, ok = u.byName[name]
	return password, ok, err
}

func (u *users) refresh() error {
	st, err := os.Stat(u.path)
	if err != nil {
		return fmt.Errorf("users of the router: %w", err)
	}
	if st.ModTime().Equal(u.read) && st.Size() == u.size {
		return nil
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("users of the router: %s can be read by others (%v); chmod 600 it", u.path, st.Mode().Perm())
	}
	f, err := os.Open(u.path)
	if err != nil {
		return fmt.Errorf("users of the router: %w", err)
	}
	defer f.Close()
	byName, err := parseUsers(f)
	if err != nil {
		return fmt.Errorf("users of the router: %s: %w", u.path, err)
	}
	u.read, u.size, u.byName = st.ModTime(), st.Size(), byName
	return nil
}

// parseUsers reads lines "user = password" as the clients' option files have them: comments
// begin with # or ;, a password may be quoted, sections are ignored. Lines are not quoted
// in errors, for they hold passwords.
func parseUsers(f *os.File) (map[string]string, error) {
	byName := map[string]string{}
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.ContainsRune("#;[", rune(line[0])) {
			continue
		}
		name, password, ok := strings.Cut(line, "=")
		name, password = strings.TrimSpace(name), strings.TrimSpace(password)
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d is not of the form user = password", n)
		}
		if k := len(password); k >= 2 && (password[0] == '"' || password[0] == '\'') && password[k-1] == password[0] {
			password = password[1 : k-1]
		}
		byName[name] = password
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(byName) == 0 {
		return nil, errors.New("it names no user")
	}
	return byName, nil
}
