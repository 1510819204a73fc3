package servers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// initdbArgs make the clusters. The socket's folder is private, so local
// connections need no password; others do. Durability of the template is seen
// to once, when it is cached.
var initdbArgs = []string{
	"--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
	"--auth-local=trust", "--auth-host=scram-sha-256",
}

// initialise fills the place's data folder with a new cluster. initdb runs once
// per version and user of this machine (1.2 s); later clusters are copies
// (0.07 s), which have the system identifier in common unless it is to be their
// own.
func (p *place) initialise(ctx context.Context, b Binaries, own bool) error {
	if own {
		return p.fill(func(fresh string) error { return p.initdb(ctx, b, fresh) })
	}
	template, err := p.template(ctx, b)
	if err != nil {
		return err
	}
	err = p.fill(func(fresh string) error { return copyTree(template, fresh, p.run.user.own) })
	if err != nil {
		return fmt.Errorf("copy %s: %w", template, err)
	}
	return nil
}

// template returns the folder of the cached cluster, made when there is none.
func (p *place) template(ctx context.Context, b Binaries) (string, error) {
	cache, err := cacheDir(p.run.user)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Append(nil, b.Version, b.Dir, initdbArgs))
	template := filepath.Join(cache, fmt.Sprintf("initdb-%d-%x", b.Major, key[:6]))
	if _, err := os.Stat(filepath.Join(template, "PG_VERSION")); err == nil {
		return template, nil
	}
	fresh := filepath.Join(p.temporary, "initdb")
	defer os.RemoveAll(fresh)
	if err := p.initdb(ctx, b, fresh); err != nil {
		return "", err
	}
	if err := publish(fresh, template); err != nil {
		return "", fmt.Errorf("keep an initialised cluster in %s: %w", cache, err)
	}
	return template, nil
}

func (p *place) initdb(ctx context.Context, b Binaries, dir string) error {
	out, err := p.command(ctx, b.path("initdb"), append(initdbArgs, "--pgdata="+dir)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run initdb: %w: %s", err, out)
	}
	return nil
}

// publish copies a folder to a name beside its destination and renames it, so
// that the destination is whole or not there whoever else does the same.
func publish(from, to string) error {
	temporary, err := os.MkdirTemp(filepath.Dir(to), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	whole := filepath.Join(temporary, "data")
	if err := copyTree(from, whole, func(string) error { return nil }); err != nil {
		return err
	}
	// After a power cut, a name without content would break every later start.
	syscall.Sync()
	if err := os.Rename(whole, to); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// cacheDir returns a folder of this user that outlives the process: below the
// user's cache folder, else below the one for temporary files.
func cacheDir(user account) (string, error) {
	cache, cacheErr := os.UserCacheDir()
	if cacheErr == nil {
		cache = filepath.Join(cache, "casq")
		if cacheErr = os.MkdirAll(cache, 0o700); cacheErr == nil {
			return cache, nil
		}
	}
	base, err := baseDir(user)
	if err != nil {
		return "", err
	}
	// Everybody may write there: a folder of that name may be somebody else's.
	dir := filepath.Join(base, fmt.Sprintf("casq-cache-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", errors.Join(cacheErr, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || ownerOf(info) != uint32(os.Geteuid()) {
		return "", fmt.Errorf("use %s as a cache: %w: it belongs to another user", dir, fs.ErrPermission)
	}
	return dir, nil
}

// copyTree copies a folder of files and folders and calls own with each copy.
func copyTree(from, to string, own func(string) error) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if entry.IsDir() {
			err = os.Mkdir(target, 0o700)
		} else {
			err = copyFile(path, target)
		}
		if err != nil {
			return err
		}
		return own(target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
