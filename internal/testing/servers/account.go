package servers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that servers run as. Postgres refuses to run as root, so
// a root process starts its servers as postgres, else nobody.
type account struct {
	name     string
	uid, gid uint32
	// other is true when it is not the user of this process, so that files
	// need a change of owner and children a change of credentials.
	other bool
}

func currentAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	var errs []error
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("read the ids of user %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
	}
	return account{}, fmt.Errorf("find an unprivileged user to run servers as: %w", errors.Join(errs...))
}

// attributes returns how a child is started as the account. The child leads a
// session of its own: Ctrl-C at a terminal reaches this process only, which
// then stops its servers in order.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a.other {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// own makes the account the owner of path.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// mkdir makes a folder that only the account may enter.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// adopt makes sure that path is a folder for a server: a new or empty one, or
// one that was adopted before. Nobody's other folder changes its owner.
func (a account) adopt(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := a.mkdir(path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return a.own(path)
	}
	info, err := os.Stat(filepath.Join(path, lockName))
	if err != nil || ownerOf(info) != a.uid {
		return fmt.Errorf("keep a server's data in %s: %w: it holds something else: choose an empty folder, or a new one",
			path, fs.ErrExist)
	}
	return nil
}

// write writes a file that only the account may read.
func (a account) write(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return a.own(path)
}

// reaches returns an error that names the first folder on the way to path that
// the account may not enter.
func (a account) reaches(path string) error {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !a.enters(info) {
			return fmt.Errorf("enter %s as user %s: %w (mode %04o): choose another folder, or chmod it to 0711",
				dir, a.name, fs.ErrPermission, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (a account) enters(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch {
	case stat.Uid == a.uid:
		return info.Mode()&0o100 != 0
	case stat.Gid == a.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}
