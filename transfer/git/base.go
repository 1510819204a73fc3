package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// cloneBase makes a mirror in the own staging of the one that is in place under the key
// which the repository had before, and brings what differs. It returns errBroken where that
// cannot be used. As an update in place it compares nothing else of what is there.
func (r *repositoryRun) cloneBase(ctx context.Context, remote *remote) (transfer.Result, error) {
	err := r.stage.OpenBase(r.base, func(parent *os.File, name string) error {
		if err := folder.RemoveTree(ctx, r.stage.Dir(), stagedRepository); err != nil {
			return err
		}
		return r.linkRepository(parent, name, r.stage.Dir(), stagedRepository)
	})
	if err != nil {
		return transfer.Result{}, fmt.Errorf("%w: %w", errBroken, r.lost(err))
	}
	result, err := r.follow(ctx, remote, finishBase)
	result.Partial = true
	return result, err
}

// finishBase brings what differs. The mirror is one of ours already, and as old as its base:
// what no ref reaches is not kept for longer than there.
func finishBase(ctx context.Context, f *follower) error {
	before, err := f.mirror.head()
	if err != nil {
		return err
	}
	if err := f.follow(ctx); err != nil {
		return err
	}
	return f.bring(ctx, before)
}

// setAside puts the mirror in place aside. What is none of ours is no copy of anything.
func (r *repositoryRun) setAside(ctx context.Context, incarnation int64) error {
	err := r.stage.SetAside(ctx, incarnation, isRepositoryAt, func(parent *os.File, name string, into *os.File, as string) error {
		if err := r.linkRepository(parent, name, into, as); err != nil {
			return err
		}
		dir, err := folder.OpenChild(into, as)
		if err != nil {
			return err
		}
		defer dir.Close()
		return syncTree(ctx, dir)
	})
	if broken(err) {
		r.log.Warn("what is in place is not kept for the key that its repository has now", "err", err)
		return nil
	}
	return err
}

// linkRepository makes a second mirror of one of ours, with links to its objects. Those are
// never changed; all else is small, and copied, and so are they where there are no links. git
// is not run in it.
//
// An earlier run of the key may be at work there: it adds packs, and rolls them up. So the
// objects are listed again afterwards, and have to be the same; and it has to be there still,
// whole, and not to have been exchanged, and deleted, meanwhile.
func (r *repositoryRun) linkRepository(parent *os.File, name string, into *os.File, as string) error {
	from, err := folder.OpenChild(parent, name)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := (&mirror{dir: from}).inspect(); err != nil {
		return err
	}
	if err := mkdirAll(into, as, "objects/pack", "objects/info", "refs"); err != nil {
		return err
	}
	to, err := folder.OpenChild(into, as)
	if err != nil {
		return err
	}
	defer to.Close()
	for range linkTries {
		if again, err := linkMirror(r.stage.Tree(), from, to); !again || err != nil {
			return errors.Join(err, still(parent, name, from))
		}
	}
	return fmt.Errorf("%w: %s is being changed", errBroken, from.Name())
}

// linkTries is how often the objects of a mirror are listed before it is given up.
const linkTries = 3

// still returns errBroken unless dir is at parent/name.
func still(parent *os.File, name string, dir *os.File) error {
	now, err := folder.OpenChild(parent, name)
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	defer now.Close()
	if same, err := folder.SameFile(now, dir); err != nil || !same {
		return errors.Join(err, fmt.Errorf("%w: %s was exchanged", errBroken, dir.Name()))
	}
	return nil
}

// linkMirror links what is not there yet, and tells whether it is to be called again.
func linkMirror(tree *folder.Tree, from, to *os.File) (again bool, err error) {
	objects, err := filesBelow(from, "objects", isObject)
	if err != nil {
		return false, err
	}
	for _, object := range append(slices.Clone(objects), packedName) {
		if err := mkdirAll(to, ".", path.Dir(object)); err != nil {
			return false, err
		}
		err := tree.Linkat(from, object, to, object)
		if folder.NoLinks(err) {
			err = copySmall(from, to, object)
		}
		if errors.Is(err, unix.ENOENT) && object != packedName {
			return true, nil
		}
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return false, err
		}
	}
	// Loose refs first, as git reads them: one that is packed meanwhile is packed before its
	// file goes.
	loose, err := filesBelow(from, "refs", func(name string) bool { return !strings.HasPrefix(name, oursRefs) && !strings.HasSuffix(name, ".lock") })
	if err != nil {
		return false, err
	}
	for _, name := range append(loose, "packed-refs", "HEAD", "config") {
		if err := copySmall(from, to, name); err != nil {
			return false, err
		}
	}
	now, err := filesBelow(from, "objects", isObject)
	return err == nil && !slices.Equal(now, objects), err
}

var objectName = regexp.MustCompile(`^objects/(pack/pack-[0-9a-f]+\.(pack|idx|rev)|[0-9a-f]{2}/[0-9a-f]{38,62})$`)

func isObject(name string) bool { return objectName.MatchString(name) }

// filesBelow lists the files below dir/name that are wanted, in order. What is neither file
// nor folder is not gone through.
func filesBelow(dir *os.File, name string, wanted func(string) bool) ([]string, error) {
	parent, err := openBelow(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	entries, err := parent.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		below := name + "/" + entry.Name()
		switch {
		case entry.IsDir():
			more, err := filesBelow(dir, below, wanted)
			if err != nil {
				return nil, err
			}
			names = append(names, more...)
		case entry.Type().IsRegular() && wanted(below):
			names = append(names, below)
		}
	}
	slices.Sort(names)
	return names, nil
}

// openBelow opens the folder that is reached from dir by handle, as no link is followed.
func openBelow(dir *os.File, name string) (*os.File, error) {
	current, err := folder.OpenChild(dir, ".")
	for component := range strings.SplitSeq(name, "/") {
		if err != nil {
			return nil, err
		}
		next, missing := folder.OpenChild(current, component)
		_ = current.Close()
		current, err = next, missing
	}
	return current, err
}

func copySmall(from, to *os.File, name string) error {
	in, err := openBelow(from, path.Dir(name))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	file, err := folder.OpenFile(in, path.Base(name))
	if errors.Is(err, unix.ENOENT) {
		return nil // a ref that is packed, or deleted, meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := mkdirAll(to, ".", path.Dir(name)); err != nil {
		return err
	}
	out, err := openBelow(to, path.Dir(name))
	if err != nil {
		return err
	}
	defer out.Close()
	return folder.CopyFile(file, out, path.Base(name))
}

// mkdirAll makes folders below parent/name.
func mkdirAll(parent *os.File, name string, below ...string) error {
	for _, b := range below {
		at := ""
		for component := range strings.SplitSeq(path.Join(name, b), "/") {
			at = path.Join(at, component)
			err := folder.Retry(func() error { return unix.Mkdirat(int(parent.Fd()), at, 0o755) })
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return &fs.PathError{Op: "mkdir", Path: parent.Name() + "/" + at, Err: err}
			}
		}
	}
	return nil
}
