package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Stage is what one claim stages: the file <target>/.casq/<room>/<hash of path>.<claim>, and,
// for what is more than one file, a folder beside it. The file is the fence: a later claim's
// Begin deletes it, and what is staged elsewhere counts only if the file was there after that
// was made. Publish renames out of the staging and removal renames into it, by handles that
// this run has opened. Once it is deleted neither can work, and what somebody made again
// under the same name would not be what these handles are of.
//
// A room is shared by many paths, and stays: a file system may take long to give an inode
// out again, and a copy that is renamed into its place costs none. See "Rooms" in DESIGN.md.
type Stage struct {
	tree  *Tree  // entered; left by drop
	path  string // of the place
	claim string
	name  string   // of the file, in room
	room  *os.File // shared with other paths; nil once the run has been closed
	file  *os.File // until it is staged, or the run has been closed
	own   identity // the file's
	dir   *os.File // nil: nobody has asked for a folder
	made  bool     // the folder, perhaps
	moved bool     // the file has been renamed to the place
}

// Dir is the folder, by the handle that MakeDir opened.
func (s *Stage) Dir() *os.File { return s.dir }

// Claim is whose it is.
func (s *Stage) Claim() string { return s.claim }

// Tree is the target's folder that it lies in.
func (s *Stage) Tree() *Tree { return s.tree }

// maxTries bounds every loop that repeats because somebody else removed an
// empty folder meanwhile. Each round takes a new rmdir of another process.
const maxTries = 128

// Begin makes the staging of a claim on a path and then deletes that of others, in
// this order.
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

// makeStage makes the claim's file, which nobody but us may read. That the claim has one
// already is an error: one that is made again is no fence.
func makeStage(t *Tree, path, claim string) (*Stage, error) {
	staged := transfer.Staged{Folder: transfer.StagingName(path), Claim: claim}
	s := &Stage{tree: t, path: path, claim: claim, name: stagedName(staged)}
	for range maxTries {
		room, err := makeRoom(t, roomOf(staged.Folder))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make staging: %w", err)
		}
		s.file, err = createIn(room, s.name, 0o600)
		if err == nil {
			s.room = room
			if s.own, err = identityAt(s.file, ""); err != nil {
				return nil, errors.Join(err, s.file.Close(), room.Close())
			}
			return s, nil
		}
		_ = room.Close()
		switch {
		case errors.Is(err, unix.ENOENT):
			continue // somebody has removed the room
		case errors.Is(err, unix.EEXIST):
			return nil, fmt.Errorf("make staging: claim %s has been begun before", claim)
		}
		return nil, fmt.Errorf("make staging for claim %s: %w", claim, err)
	}
	return nil, fmt.Errorf("make staging: %s keeps vanishing", roomOf(staged.Folder))
}

// MakeDir makes the folder, unless it was made before. It counts only if the claim's file
// is there afterwards: a later Begin deletes that first, and then looks again.
func (s *Stage) MakeDir() error {
	if s.dir != nil {
		return nil
	}
	if s.room == nil {
		return s.Check()
	}
	name := s.name + dirSuffix
	s.made = true
	if err := Retry(func() error { return unix.Mkdirat(int(s.room.Fd()), name, 0o700) }); err != nil {
		return s.Fenced(&fs.PathError{Op: "mkdir", Path: s.room.Name() + "/" + name, Err: err})
	}
	dir, err := OpenChild(s.room, name)
	if err != nil {
		return s.Fenced(err)
	}
	if err := errors.Join(s.Check(), s.linkFence(dir)); err != nil {
		return errors.Join(err, dir.Close())
	}
	s.dir = dir
	return nil
}

// linkFence has the file system itself say that the claim's file is there, after the folder
// was made. A look at it may be answered by what this machine remembers, where the target is
// on another one; a second name is made there, of a file that is there, or not at all.
func (s *Stage) linkFence(dir *os.File) error {
	err := s.tree.Linkat(s.room, s.name, dir, fenceName)
	switch {
	case NoLinks(err):
		return nil // it has no second names: the look has to do
	case errors.Is(err, unix.EEXIST):
		return nil
	case err != nil:
		return s.Fenced(err)
	}
	return nil
}

// fenceName is what the claim's file is called in the claim's folder.
const fenceName = "claim"

// OpenFile is the claim's own file, empty and for nobody but us, to be written to and closed;
// name is what it is called in the folder parent.
func (s *Stage) OpenFile() (file, parent *os.File, name string, err error) {
	if s.room == nil || s.moved {
		return nil, nil, "", fmt.Errorf("write to staging: %w", s.Fenced(unix.ENOENT))
	}
	if file, s.file = s.file, nil; file == nil {
		file, err = s.again()
	}
	return file, s.room, s.name, err
}

// again empties the own file, which was written to before.
func (s *Stage) again() (*os.File, error) {
	const flags = unix.O_WRONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC
	at := s.room.Name() + "/" + s.name
	if err := s.mayWrite(); err != nil {
		return nil, err
	}
	fd, err := RetryOpen(func() (int, error) { return unix.Openat(int(s.room.Fd()), s.name, flags, 0) })
	if err != nil {
		return nil, s.Fenced(&fs.PathError{Op: "open", Path: at, Err: err})
	}
	file := os.NewFile(uintptr(fd), at)
	now, err := identityAt(file, "")
	if err == nil && now != s.own {
		err = s.Fenced(unix.ENOENT)
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// mayWrite makes the own file one that may be written to, which it is not once it has its
// attributes: only root opens a file of mode 0444 for that.
func (s *Stage) mayWrite() error {
	fd, err := RetryOpen(func() (int, error) {
		return unix.Openat(int(s.room.Fd()), s.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return s.Fenced(&fs.PathError{Op: "open", Path: s.room.Name() + "/" + s.name, Err: err})
	}
	file := os.NewFile(uintptr(fd), s.name)
	defer file.Close()
	now, err := identityAt(file, "")
	if err != nil {
		return err
	}
	if now != s.own {
		return s.Fenced(unix.ENOENT)
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o600); err != nil {
		return fmt.Errorf("empty what was staged: %w", err)
	}
	return nil
}

func mkdirPrivate(parent *os.File, name string) error {
	err := Retry(func() error { return unix.Mkdirat(int(parent.Fd()), name, 0o700) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "mkdir", Path: parent.Name() + "/" + name, Err: err}
	}
	return nil
}

// removeOthers deletes the staging of all other claims on the place. It is
// deleted and not moved away: a handle follows a moved folder.
//
// A file that appears while this runs belongs to a claim that is older than
// ours and late (its row check will fail, since ours is committed) or newer (then
// ours will). So one listing that finds no file is enough for those. A folder may be made
// much later than its file, by a run that has checked its row: it counts if the file was
// there afterwards. A listing that finds no file began, at the latest, while that was
// deleted; the next one, which begins after it has ended, shows each folder that counts.
func (s *Stage) removeOthers(ctx context.Context) error {
	quiet := 0
	for range maxTries {
		others, err := s.others()
		if err != nil {
			return err
		}
		if len(others) == 0 {
			quiet++
			if quiet == 2 {
				return nil
			}
			continue
		}
		quiet = 0
		for _, other := range others {
			// Its folder, too, whether or not it was listed: on another machine's file system
			// a listing may be one that this machine remembers.
			for _, name := range []string{other, strings.TrimSuffix(other, dirSuffix) + dirSuffix} {
				if err := RemoveTree(ctx, s.room, name); err != nil {
					return fmt.Errorf("remove staging of an earlier claim: %w", err)
				}
			}
		}
	}
	return fmt.Errorf("remove staging of earlier claims on %q: more keep coming", s.path)
}

func (s *Stage) others() ([]string, error) {
	_, err := s.room.Seek(0, io.SeekStart)
	if err != nil {
		return nil, fmt.Errorf("list staging: %w", err)
	}
	names, err := s.room.Readdirnames(-1)
	if err != nil {
		return nil, s.Fenced(fmt.Errorf("list staging: %w", err))
	}
	others := names[:0]
	for _, name := range names {
		if strings.HasPrefix(name, s.name[:len(s.name)-len(s.claim)]) && !strings.HasPrefix(name, s.name) {
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

// Check returns ErrFenced unless the own file is still where Begin made it.
// After a rename that ended with ENOENT it tells the fence from innocent causes:
// what is there now has been there all the time, for it is never made again.
func (s *Stage) Check() error {
	if s.room == nil {
		return s.Fenced(unix.ENOENT) // the run has been closed
	}
	return s.isAt(s.room, s.name)
}

// isAt returns ErrFenced unless the own file is at parent/name.
func (s *Stage) isAt(parent *os.File, name string) error {
	now, err := identityAt(parent, name)
	if err == nil && now != s.own {
		err = unix.ENOENT
	}
	if err != nil {
		return s.Fenced(err)
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

// Drop deletes what is staged, and, if it is to prune, folders above the place that
// are empty; it ends the use of the tree.
func (s *Stage) Drop(ctx context.Context, prune bool) error {
	if s.room == nil {
		return nil
	}
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	if s.dir != nil {
		err = errors.Join(err, s.dir.Close())
	}
	if !s.moved {
		err = errors.Join(err, RemoveTree(ctx, s.room, s.name))
	}
	if s.made {
		// By its name: a git that was fenced may have made the folder again.
		err = errors.Join(err, RemoveTree(ctx, s.room, s.name+dirSuffix))
	}
	err = errors.Join(err, s.room.Close())
	s.room = nil
	if prune {
		s.tree.PruneParents(s.path)
	}
	s.tree.Leave()
	return err
}
