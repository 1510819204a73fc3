package filestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	staging = ".staging"
	// tries bounds how often a file is renamed again because somebody has removed the
	// folder that it is to be in, as an empty one.
	tries = 16
)

// Folder is a file store in a folder.
type Folder struct{ root *os.Root }

// OpenFolder opens a folder, which has to exist.
func OpenFolder(folder string) (*Folder, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w (it has to exist: mkdir it, or mount what it is on)", err)
	}
	if err := root.Mkdir(staging, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(fmt.Errorf("open file store: %w", err), root.Close())
	}
	return &Folder{root}, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

func staged(key string) string {
	sum := sha256.Sum256([]byte(key))
	return staging + "/" + hex.EncodeToString(sum[:])
}

// Put stores what it reads, to its end, as the file of a new key.
func (f *Folder) Put(ctx context.Context, key string, content io.Reader) error {
	if err := check(key); err != nil {
		return err
	}
	name := staged(key)
	if err := f.stage(ctx, name, content); err != nil {
		return errors.Join(err, f.remove(name))
	}
	if err := f.publish(name, key); err != nil {
		err = errors.Join(fmt.Errorf("publish %s: %w", key, err), f.remove(name))
		f.prune(key)
		return err
	}
	return nil
}

func (f *Folder) stage(ctx context.Context, name string, content io.Reader) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err = io.Copy(file, content); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// publish renames a staged file. It is there for good when it returns nil: its folder is
// synced, and each above it, which may be new as well.
func (f *Folder) publish(name, key string) error {
	dir := path.Dir(key)
	var err error
	for range tries {
		if err = f.root.MkdirAll(dir, 0o755); err == nil {
			err = f.root.Rename(name, key)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, gone := f.root.Lstat(name); gone != nil {
			return gone // Remove has taken it
		}
	}
	if err != nil {
		return err
	}
	for ; ; dir = path.Dir(dir) {
		if err := f.sync(dir); err != nil || dir == "." {
			return err
		}
	}
}

func (f *Folder) sync(dir string) error {
	opened, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// Open opens the file of a key.
func (f *Folder) Open(_ context.Context, key string) (io.ReadSeekCloser, error) {
	if err := check(key); err != nil {
		return nil, err
	}
	file, err := f.root.Open(key)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return file, nil
}

// Remove removes the file of a key, wherever it is on its way, and the folders that are
// empty then.
func (f *Folder) Remove(_ context.Context, key string) error {
	if err := check(key); err != nil {
		return err
	}
	if err := errors.Join(f.remove(staged(key)), f.remove(key)); err != nil {
		return err
	}
	f.prune(key)
	return nil
}

// prune removes the folders of a key that are empty, but for the top one.
func (f *Folder) prune(key string) {
	for dir := path.Dir(key); dir != "." && strings.Contains(dir, "/"); dir = path.Dir(dir) {
		if f.root.Remove(dir) != nil {
			return // it is in use, or gone
		}
	}
}

func (f *Folder) remove(name string) error {
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
