package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

const (
	// asides has what was put aside. It is no staging of any claim: no run's begin
	// deletes it.
	asides = "moved"
	// stagedAside is such a copy in the staging of the claim that makes it.
	stagedAside = "aside"
)

// linkFunc gives what is at parent/base another name, into/name: a file a second link, a
// folder a second one with links.
type linkFunc func(parent *os.File, base string, into *os.File, name string) error

// SetAside puts what is in place aside, under the name of an incarnation, where that has
// not been done: it is of a resource that has another key by now, and is to be made into
// its copy there. The place stays as it is.
//
// Links are made in the own staging first, and renamed from there: a run that was fenced
// meanwhile, when the place may already have what came later, renames nothing.
func (s *Stage) SetAside(ctx context.Context, incarnation int64, mine mineFunc, link linkFunc) error {
	if err := s.setAside(ctx, transfer.AsideName(s.path, incarnation), mine, link); err != nil {
		return fmt.Errorf("put aside what is in place: %w", err)
	}
	return nil
}

func (s *Stage) setAside(ctx context.Context, name string, mine mineFunc, link linkFunc) error {
	into, err := s.tree.makeAsides()
	if err != nil {
		return err
	}
	defer into.Close()
	if kind, err := KindOf(int(into.Fd()), name); err != nil || kind != KindAbsent {
		return err
	}
	parent, err := s.tree.OpenDir(path.Dir(s.path))
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	base := path.Base(s.path)
	if there, err := mine(parent, base); err != nil || !there {
		return err
	}
	if err := s.MakeDir(); err != nil {
		return err
	}
	if err := RemoveTree(ctx, s.dir, stagedAside); err != nil {
		return err
	}
	if err := link(parent, base, s.dir, stagedAside); err != nil {
		return s.Fenced(err)
	}
	if err := s.tree.Here(); err != nil {
		return err
	}
	err = Rename(s.dir, stagedAside, into, name, unix.RENAME_NOREPLACE)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return s.FencedRename(err)
	}
	return into.Sync()
}

func (t *Tree) makeAsides() (*os.File, error) {
	if err := mkdirPrivate(t.root, transfer.StagingRoot); err != nil {
		return nil, err
	}
	top, err := t.OpenDir(transfer.StagingRoot)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if err := mkdirPrivate(top, asides); err != nil {
		return nil, err
	}
	return OpenChild(top, asides)
}

// OpenBase calls use with where a copy of the resource is that has a base: its folder, and
// its name there. It may not be there at all; and what use then does is of no consequence.
//
// Before another resource takes the place, what is there is put aside. So use is called
// with the place, and again with what was put aside if that is there afterwards: what was
// there before that cannot be another resource's.
func (s *Stage) OpenBase(base *transfer.Base, use func(parent *os.File, name string) error) error {
	parent, err := s.tree.OpenDir(path.Dir(base.Path))
	switch {
	case err == nil:
		err = use(parent, path.Base(base.Path))
		_ = parent.Close()
	case Absent(err):
		err = unix.ENOENT
	}
	aside, missing := s.tree.OpenDir(transfer.StagingRoot + "/" + asides)
	if errors.Is(missing, unix.ENOENT) {
		return err
	}
	if missing != nil {
		return missing
	}
	defer aside.Close()
	name := transfer.AsideName(base.Path, base.Incarnation)
	if kind, missing := KindOf(int(aside.Fd()), name); missing != nil || kind == KindAbsent {
		return errors.Join(err, missing)
	}
	return use(aside, name)
}

// ListAside returns the names of what was put aside.
func (r *Root) ListAside(ctx context.Context) (names []string, err error) {
	tree, err := r.Enter()
	if err != nil {
		return nil, fmt.Errorf("list what was put aside: %w", err)
	}
	defer tree.Leave()
	dir, err := tree.OpenDir(transfer.StagingRoot + "/" + asides)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what was put aside: %w", err)
	}
	defer dir.Close()
	err = eachName(ctx, dir, func(string) bool { return true }, func(name string) error {
		names = append(names, name)
		return nil
	})
	return names, err
}

// DropAside deletes what was put aside.
func (r *Root) DropAside(ctx context.Context, name string) error {
	tree, err := r.Enter()
	if err != nil {
		return fmt.Errorf("delete what was put aside: %w", err)
	}
	defer tree.Leave()
	dir, err := tree.OpenDir(transfer.StagingRoot + "/" + asides)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete what was put aside: %w", err)
	}
	defer dir.Close()
	return RemoveTree(ctx, dir, name)
}
