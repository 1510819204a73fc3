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

// PutInPlace renames what is staged under name in the own folder, or, under "", the own
// file, to the place. prepare is asked before each try to make way and says with which flags
// to rename.
func (s *Stage) PutInPlace(ctx context.Context, name string, prepare prepareFunc, hook func(string)) error {
	switch {
	case s.room == nil:
		return s.Check()
	case name == "" && s.moved:
		return s.settle()
	}
	for range maxTries {
		again, err := s.tryPutInPlace(ctx, name, prepare, hook)
		if !again {
			return err
		}
	}
	return errors.New("folders on the way keep vanishing; find out which program deletes them")
}

type prepareFunc func(parent *os.File, base string) (flags uint, err error)

// tryPutInPlace answers true if a folder on the way was removed, or put in
// place, by another resource's run meanwhile.
func (s *Stage) tryPutInPlace(
	ctx context.Context, name string, prepare prepareFunc, hook func(string),
) (again bool, err error) {
	parent, err := s.tree.makeDirs(path.Dir(s.path))
	if err != nil {
		return errors.Is(err, unix.ENOENT), err
	}
	defer parent.Close()
	base := path.Base(s.path)
	flags, err := prepare(parent, base)
	if err != nil {
		return errors.Is(err, unix.ENOENT), err
	}
	// The deadline is checked before the hook, so that a test that freezes the
	// process at the hook freezes it as close to the rename as can be.
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	// And that the file is ours, which nobody but us should make.
	if err := errors.Join(s.tree.Here(), s.Check()); err != nil {
		return false, err
	}
	hook(transfer.PointBeforePublish)
	from, staged := s.dir, name
	if name == "" {
		from, staged = s.room, s.name
	}
	err = Rename(from, staged, parent, base, flags)
	switch {
	case errors.Is(err, unix.ENOENT):
		return s.stillStaged(from, staged)
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR),
		errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return true, err
	case err != nil:
		return false, err
	}
	s.moved = name == ""
	hook(transfer.PointPublished)
	return false, s.settled(parent)
}

// settled returns when what was renamed into parent is there to stay, and under the name by
// which it is read.
func (s *Stage) settled(parent *os.File) error {
	if err := s.tree.Flush(parent.Sync); err != nil {
		return err
	}
	return s.tree.Here()
}

// settle is for a file that was renamed to the place before: it is there still, unless
// another run took over.
func (s *Stage) settle() error {
	parent, err := s.tree.OpenDir(path.Dir(s.path))
	if Absent(err) {
		return s.Fenced(unix.ENOENT)
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := s.isAt(parent, path.Base(s.path)); err != nil {
		return err
	}
	return s.settled(parent)
}

// stillStaged finds out why a publish met ENOENT. What we staged is there: it
// is the parent that vanished, so try again. It is not: somebody deletes, or has
// deleted, our staging.
func (s *Stage) stillStaged(dir *os.File, name string) (bool, error) {
	if err := s.Check(); err != nil {
		return false, err
	}
	_, err := StatAt(int(dir.Fd()), name)
	if err != nil {
		return false, s.Fenced(err)
	}
	return true, nil
}

// stagedRemoved is what a removal takes away, in the claim's staging.
const stagedRemoved = "removed"

// TakeAway renames the place into the own staging. mine is asked
// whether what stands there is the resource, and not a folder of other resources: only
// a run on this very key can turn one into the other between the question and
// the rename, and that run would have fenced us.
func (s *Stage) TakeAway(ctx context.Context, mine mineFunc, hook func(string)) error {
	if s.room == nil {
		return s.Check()
	}
	parent, err := s.tree.OpenDir(path.Dir(s.path))
	if Absent(err) {
		return s.checkAbsent()
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	base := path.Base(s.path)
	there, err := mine(parent, base)
	if err != nil {
		return err
	}
	if !there {
		return s.checkAbsent()
	}
	if err := s.MakeDir(); err != nil {
		return err
	}
	if err := RemoveTree(ctx, s.dir, stagedRemoved); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := s.tree.Here(); err != nil {
		return err
	}
	hook(transfer.PointBeforeRemove)
	err = Rename(parent, base, s.dir, stagedRemoved, 0)
	if errors.Is(err, unix.ENOENT) {
		return s.checkAbsent()
	}
	if err != nil {
		return err
	}
	hook(transfer.PointRemoved)
	return s.settled(parent)
}

type mineFunc func(parent *os.File, base string) (bool, error)

// checkAbsent is for a removal that finds nothing in place. It returns nil if
// the run may say "removed": it is not fenced, it searched the folder that has the
// target's name, and the absence is on disk, which an earlier run that died right
// after its rename may not have come to.
func (s *Stage) checkAbsent() error {
	for dir := path.Dir(s.path); ; dir = path.Dir(dir) {
		deepest, err := s.tree.OpenDir(dir)
		if Absent(err) && dir != "." {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(deepest.Sync(), deepest.Close()); err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
		if err := s.tree.Here(); err != nil {
			return err
		}
		return s.Check()
	}
}
