package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Stage is one claim's staging folder, <target>/.casq/<hash of path>/<claim>/.
// It is the fence: publish renames out of it and removal renames into it, by the
// handle that Begin opened. Once the folder is deleted neither can work, and a
// folder that somebody made again under the same name would not be this handle's.
type Stage struct {
	tree  *Tree  // entered; left by drop
	path  string // of the place
	claim string
	dir   *os.File // nil once the run has been closed
	// shared is the folder of all claims on path. It is there for as long as dir is
	// in it; made again, it is without dir.
	shared *os.File
}

// Dir is the folder, by the handle that Begin opened.
func (s *Stage) Dir() *os.File { return s.dir }

// Claim is whose it is.
func (s *Stage) Claim() string { return s.claim }

// Tree is the target's folder that it lies in.
func (s *Stage) Tree() *Tree { return s.tree }

// maxTries bounds every loop that repeats because somebody else removed an
// empty folder meanwhile. Each round takes a new rmdir of another process.
const maxTries = 128

// Begin makes the staging of a claim on a path and then deletes that of others, in
// this order: the own folder keeps the shared one from being removed.
func (r *Root) Begin(ctx context.Context, path, claim string) (*Stage, error) {
	tree, err := r.Enter()
	if err != nil {
		return nil, err
	}
	stage, err := makeStage(tree, path, claim)
	if err != nil {
		tree.Leave()
		return nil, err
	}
	if err := stage.removeOthers(ctx); err != nil {
		return nil, errors.Join(err, stage.Drop(context.WithoutCancel(ctx), false))
	}
	return stage, nil
}

// makeStage makes the claim's folder. That the claim has one already is an
// error: a folder that is made again is no fence.
func makeStage(t *Tree, path, claim string) (*Stage, error) {
	for range maxTries {
		shared, err := openShared(t, transfer.StagingName(path), true)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make staging: %w", err)
		}
		err = Retry(func() error { return unix.Mkdirat(int(shared.Fd()), claim, 0o700) })
		if errors.Is(err, unix.ENOENT) {
			_ = shared.Close() // the last claim's Close removed the empty folder
			continue
		}
		var dir *os.File
		if err == nil {
			dir, err = OpenChild(shared, claim)
		}
		if err == nil {
			return &Stage{tree: t, path: path, claim: claim, dir: dir, shared: shared}, nil
		}
		_ = shared.Close()
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil, fmt.Errorf("make staging: %w", transfer.ErrFenced)
		case errors.Is(err, unix.EEXIST):
			return nil, fmt.Errorf("make staging: claim %s has been begun before", claim)
		}
		return nil, fmt.Errorf("make staging for claim %s: %w", claim, err)
	}
	return nil, fmt.Errorf("make staging: %s/%s keeps vanishing", transfer.StagingRoot, transfer.StagingName(path))
}

// openShared opens the folder that all claims on one path share.
func openShared(t *Tree, name string, create bool) (*os.File, error) {
	if create {
		if err := mkdirPrivate(t.root, transfer.StagingRoot); err != nil {
			return nil, err
		}
		top, err := t.OpenDir(transfer.StagingRoot)
		if err != nil {
			return nil, err
		}
		err = mkdirPrivate(top, name)
		_ = top.Close()
		if err != nil {
			return nil, err
		}
	}
	return t.OpenDir(transfer.StagingRoot + "/" + name)
}

func mkdirPrivate(parent *os.File, name string) error {
	err := Retry(func() error { return unix.Mkdirat(int(parent.Fd()), name, 0o700) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "mkdir", Path: parent.Name() + "/" + name, Err: err}
	}
	return nil
}

// removeOthers deletes the staging of all other claims on the place. They are
// deleted and not moved away: a handle follows a moved folder.
//
// A folder that appears while this runs belongs to a claim that is older than
// ours and late (its row check will fail, since ours is committed) or newer (then
// ours will). So one listing that finds nothing is enough.
func (s *Stage) removeOthers(ctx context.Context) error {
	for range maxTries {
		others, err := s.others()
		if err != nil {
			return err
		}
		if len(others) == 0 {
			return nil
		}
		for _, other := range others {
			if err := RemoveTree(ctx, s.shared, other); err != nil {
				return fmt.Errorf("remove staging of an earlier claim: %w", err)
			}
		}
	}
	return fmt.Errorf("remove staging of earlier claims on %q: more keep coming", s.path)
}

func (s *Stage) others() ([]string, error) {
	_, err := s.shared.Seek(0, io.SeekStart)
	if err != nil {
		return nil, fmt.Errorf("list staging: %w", err)
	}
	names, err := s.shared.Readdirnames(-1)
	if err != nil {
		return nil, s.Fenced(fmt.Errorf("list staging: %w", err))
	}
	others := names[:0]
	for _, name := range names {
		if name != s.claim {
			others = append(others, name)
		}
	}
	return others, nil
}

// Fenced makes ENOENT on the way to the own folder into ErrFenced.
func (s *Stage) Fenced(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w (claim %s)", transfer.ErrFenced, s.claim)
	}
	return err
}

// Check returns ErrFenced unless the own folder is still where Begin made it.
// After a rename that ended with ENOENT it tells the fence from innocent causes:
// what is there now has been there all the time, for it is never made again.
func (s *Stage) Check() error {
	if s.dir == nil {
		return s.Fenced(unix.ENOENT) // the run has been closed
	}
	now, err := StatAt(int(s.shared.Fd()), s.claim)
	if err != nil {
		return s.Fenced(err)
	}
	var own unix.Stat_t
	if err := unix.Fstat(int(s.dir.Fd()), &own); err != nil {
		return fmt.Errorf("read own staging: %w", err)
	}
	if own.Ino != now.Ino || own.Dev != now.Dev {
		return s.Fenced(unix.ENOENT)
	}
	return nil
}

// FencedRename is for a rename out of the own staging: its ENOENT is the fence.
func (s *Stage) FencedRename(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", s.Fenced(unix.ENOENT), err)
	}
	return err
}

// Drop deletes the own folder, the shared one if it is empty then, and, if it is
// to prune, folders above the place that are empty; it ends the use of the tree.
func (s *Stage) Drop(ctx context.Context, prune bool) error {
	if s.dir == nil {
		return nil
	}
	err := errors.Join(s.dir.Close(), s.shared.Close())
	s.dir = nil
	// By its path: a git that was fenced may have made the folder again.
	err = errors.Join(err, s.tree.DropStaging(ctx, transfer.Staged{Folder: transfer.StagingName(s.path), Claim: s.claim}))
	if prune {
		s.tree.PruneParents(s.path)
	}
	s.tree.Leave()
	return err
}

// DropStaging deletes the staging of one claim, which may have none.
func (t *Tree) DropStaging(ctx context.Context, staged transfer.Staged) error {
	shared, err := openShared(t, staged.Folder, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	err = RemoveTree(ctx, shared, staged.Claim)
	_ = shared.Close()
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	top, err := t.OpenDir(transfer.StagingRoot)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	defer top.Close()
	// ENOTEMPTY: another claim is at work. Nothing else matters either.
	_ = unix.Unlinkat(int(top.Fd()), staged.Folder, unix.AT_REMOVEDIR)
	return nil
}
