package folder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// walkNames is how many names of one folder are kept in memory, in the order of
// keys. A folder that has more is read several times.
const walkNames = 50_000

// Walk goes through the folder below a prefix.
func (r *Root) Walk(ctx context.Context, prefix string, w Walk) error {
	tree, err := r.Enter()
	if err != nil {
		return fmt.Errorf("walk %s: %w", r.name, err)
	}
	defer tree.Leave()
	w.tree, w.most = tree, cmp.Or(w.most, walkNames)
	if err := w.run(ctx, prefix); err != nil {
		return err
	}
	// What was not named is taken for absent.
	return tree.Here()
}

// Walk goes through folders depth first. In a folder resources are ordered by their
// name, and folders of resources by their name and a slash: that is the order of the
// keys.
type Walk struct {
	After string                      // keys up to here are left out
	Each  func(transfer.Placed) error // is called for each resource, and ends the walk by an error
	// Sort says what an entry of a folder is: its name for a resource, with a slash
	// for a folder of resources, "" for what is neither.
	Sort  func(dir *os.File, entry os.DirEntry) (string, error)
	Parts []string // what shows that a resource has changed

	tree *Tree
	most int // how many names are kept in memory
}

func (w *Walk) run(ctx context.Context, prefix string) error {
	dir, err := w.tree.OpenDir(cmp.Or(prefix, "."))
	if Absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("walk %s: %w", w.tree.name, err)
	}
	defer dir.Close()
	return w.folder(ctx, dir, "")
}

// folder goes through the folder whose keys begin with at.
func (w *Walk) folder(ctx context.Context, dir *os.File, at string) error {
	for beyond := ""; ; {
		names, err := w.names(ctx, dir, at, beyond)
		if err != nil {
			return fmt.Errorf("walk %s: %w", dir.Name(), err)
		}
		for _, name := range names {
			if err := w.entry(ctx, dir, at, name); err != nil {
				return err
			}
		}
		if len(names) < w.most {
			return nil
		}
		beyond = names[len(names)-1]
	}
}

// names are the first of the folder beyond a name, in order.
func (w *Walk) names(ctx context.Context, dir *os.File, at, beyond string) ([]string, error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var names []string
	cut := func() {
		slices.Sort(names)
		names = names[:min(len(names), w.most)]
	}
	for {
		entries, err := dir.ReadDir(512)
		for _, entry := range entries {
			name, err := w.name(dir, at, entry)
			if err != nil {
				return nil, err
			}
			if name > beyond {
				names = append(names, name)
			}
		}
		if len(names) >= 2*w.most {
			cut()
		}
		switch {
		// A folder that was deleted while it was read has no more names.
		case errors.Is(err, io.EOF), errors.Is(err, unix.ENOENT):
			cut()
			return names, nil
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
	}
}

// name is what sort says of an entry; "" if all of it is to be left out.
func (w *Walk) name(dir *os.File, at string, entry os.DirEntry) (string, error) {
	if transfer.BadPath(at+entry.Name()) != "" {
		return "", nil
	}
	if full := at + entry.Name() + "/"; entry.IsDir() && full < w.After && !strings.HasPrefix(w.After, full) {
		return "", nil
	}
	name, err := w.Sort(dir, entry)
	if gone(err) {
		return "", nil
	}
	return name, err
}

func (w *Walk) entry(ctx context.Context, dir *os.File, at, name string) error {
	folder, isFolder := strings.CutSuffix(name, "/")
	if !isFolder {
		return w.resource(dir, at, name)
	}
	child, err := OpenChild(dir, folder)
	if gone(err) || err == nil && !w.tree.sameDevice(int(child.Fd())) {
		if err == nil {
			_ = child.Close()
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("walk %s/%s: %w", dir.Name(), folder, err)
	}
	defer child.Close()
	return w.folder(ctx, child, at+name)
}

// resource names one that is still there.
func (w *Walk) resource(dir *os.File, at, name string) error {
	if at+name <= w.After {
		return nil
	}
	var changed time.Time
	for _, part := range w.Parts {
		st, err := StatAt(int(dir.Fd()), name+part)
		if gone(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk %s/%s: %w", dir.Name(), name+part, err)
		}
		if at := time.Unix(st.Ctim.Unix()); at.After(changed) {
			changed = at
		}
	}
	return w.Each(transfer.Placed{Key: at + name, Changed: changed})
}

// gone is true for what is not there any more, or is no folder any more.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
