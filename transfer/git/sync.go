package git

import (
	"context"
	"errors"
	"os"
	"strings"

	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// syncTree syncs all files and folders of a tree that only we write to.
func syncTree(ctx context.Context, dir *os.File) error {
	again, err := folder.OpenChild(dir, ".")
	if err != nil {
		return err
	}
	defer again.Close()
	entries, err := again.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := syncEntry(ctx, again, entry); err != nil {
			return err
		}
	}
	return again.Sync()
}

func syncEntry(ctx context.Context, dir *os.File, entry os.DirEntry) error {
	if entry.IsDir() {
		child, err := folder.OpenChild(dir, entry.Name())
		if err != nil {
			return err
		}
		defer child.Close()
		return syncTree(ctx, child)
	}
	file, err := folder.OpenFile(dir, entry.Name())
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// syncFolder syncs the folder that is reached from dir. One that is not there
// any more needs no syncing: the one above it is synced, too.
func syncFolder(dir *os.File, components []string) error {
	current, err := folder.OpenChild(dir, ".")
	for _, component := range components {
		if err != nil {
			break
		}
		var next *os.File
		next, err = folder.OpenChild(current, component)
		_ = current.Close()
		current = next
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(current.Sync(), current.Close())
}

// persist makes what a fetch has brought durable, packs by git and their folder
// by us, and returns the size of all objects in bytes.
func (m *mirror) persist(ctx context.Context) (int64, error) {
	for _, name := range []string{"objects/pack", "objects"} {
		if err := syncFolder(m.dir, strings.Split(name, "/")); err != nil {
			return 0, err
		}
	}
	return treeSize(ctx, m.dir, "objects")
}

// treeSize sums up the sizes of the files below parent/name.
func treeSize(ctx context.Context, parent *os.File, name string) (int64, error) {
	dir, err := folder.OpenChild(parent, name)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, entry := range entries {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if entry.IsDir() {
			size, err := treeSize(ctx, dir, entry.Name())
			if err != nil {
				return 0, err
			}
			total += size
			continue
		}
		st, err := folder.StatAt(int(dir.Fd()), entry.Name())
		if err == nil {
			total += st.Size
		} else if !errors.Is(err, unix.ENOENT) {
			return 0, err
		}
	}
	return total, nil
}
