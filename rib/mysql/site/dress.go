package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
)

// mark lies in a data directory that is a copy whose server has not yet been told which
// position its data have.
type mark struct {
	From     string    `json:"from"`
	Position string    `json:"position"` // GTID
	Before   string    `json:"before"`   // path of the old data
	At       time.Time `json:"at"`
}

// markName is the name of the file with the mark.
const markName = "kaname-copy.json"

func readMark(dir string) (*mark, error) {
	raw, err := os.ReadFile(filepath.Join(dir, markName)) //nolint:gosec // in the server's data
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no mark
	}
	var m mark
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return nil, fault.Corrupt("what kaname has noted of a copy").At(filepath.Join(dir, markName)).Because(err)
	}
	return &m, nil
}

// position returns the GTID position of a copy, as mariadb-backup has written it: file,
// offset and position, with tabs between.
func position(copied string) (string, error) {
	for _, name := range []string{"mariadb_backup_binlog_info", "xtrabackup_binlog_info"} {
		raw, err := os.ReadFile(filepath.Join(copied, name)) //nolint:gosec // made by the backup
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		parts := strings.SplitN(strings.TrimRight(string(raw), "\n"), "\t", 3)
		if len(parts) < 3 {
			return "", fmt.Errorf("%s has no GTID position: %q", name, raw)
		}
		return strings.Join(strings.Fields(parts[2]), ""), nil
	}
	return "", errors.New("the backup says no position in the binary log; does its source write one?")
}

// own are files of a server that are not data: a copy keeps those of its host.
var own = []string{"*.pem", "*.flag", "*_upgrade_info"}

// backups are files of mariadb-backup, which the server does not need.
var backups = []string{"xtrabackup_*", "mariadb_backup_*", "backup-my.cnf"}

// dress makes a prepared copy look like the data directory: its mark, the host's own files,
// owner and modes. When it returns all of it is on disk.
func dress(copied, dir string, m mark) error {
	for _, pattern := range backups {
		found, err := filepath.Glob(filepath.Join(copied, pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	for _, pattern := range own {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := keepOwn(f, filepath.Join(copied, filepath.Base(f))); err != nil {
				return err
			}
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(copied, markName), raw, 0o600); err != nil {
		return err
	}
	if err := wear(copied, dir); err != nil {
		return err
	}
	d, err := os.Open(copied) //nolint:gosec // made above
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close()) //nolint:gosec // a descriptor fits
}

func keepOwn(from, to string) error {
	raw, err := os.ReadFile(from) //nolint:gosec // of the server's data
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600) //nolint:gosec // both are of the server's data, made by us
}

// wear gives all of a copy the owner of the data directory, and the modes that directories
// and files have there.
func wear(copied, dir string) error {
	top, err := os.Stat(dir)
	if err != nil {
		return err
	}
	who, ok := top.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.ErrUnsupported
	}
	dirs, files := modeOf(filepath.Join(dir, "mysql"), top.Mode().Perm()), modeOf(filepath.Join(dir, "ibdata1"), 0o660)
	err = filepath.WalkDir(copied, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Type()&fs.ModeSymlink != 0:
			return os.Lchown(path, int(who.Uid), int(who.Gid)) //nolint:gosec // in a directory that only we write yet
		}
		mode := files
		if e.IsDir() {
			mode = dirs
		}
		if err := os.Chmod(path, mode); err != nil { //nolint:gosec // in a directory that only we write yet
			return err
		}
		if who.Uid == uint32(os.Geteuid()) && who.Gid == uint32(os.Getegid()) { //nolint:gosec // never negative on Linux
			return nil
		}
		return os.Lchown(path, int(who.Uid), int(who.Gid)) //nolint:gosec // in a directory that only we write yet
	})
	return errors.Join(err, os.Chmod(copied, top.Mode().Perm()))
}

func modeOf(path string, otherwise fs.FileMode) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return otherwise
	}
	return info.Mode().Perm()
}
