package git

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// workingConfigs are what a mirror has once it was released, as git init would have made
// it: an application may push to it, and collects garbage itself.
var workingConfigs = [2]string{
	strings.TrimSuffix(mirrorConfigs[0], mirrorSettings), strings.TrimSuffix(mirrorConfigs[1], mirrorSettings),
}

// stagedConfig is the name under which the configuration is written first.
const stagedConfig = "config.casq"

// Release makes the mirror in place a working repository: earlier runs are fenced, what is
// ours goes (refs, the guard, the settings of a mirror), and a folder for hooks is made. What
// it holds stays as it is. Called again, also after a crash in the middle, it does what is
// left to do; a repository that was released before is not touched. [transfer.ErrMismatch]
// says that no mirror of ours is in place.
//
// Nothing of this package may work on it afterwards: whoever calls it sees to that.
func (r *Repositories) Release(ctx context.Context, place transfer.Place) error {
	path, _, err := place.Paths()
	if err != nil {
		return err
	}
	done, err := r.released(path)
	if err == nil && !done {
		err = r.release(ctx, place)
	}
	if err == nil {
		err = r.tidyReleased(path)
	}
	if err != nil {
		return fmt.Errorf("release repository %q: %w", path, err)
	}
	return nil
}

// released tells whether a repository has the configuration of one.
func (r *Repositories) released(path string) (done bool, err error) {
	err = r.inRepository(path, func(dir *os.File) error {
		config, err := folder.ReadSmall(dir, "config")
		done = slices.Contains(workingConfigs[:], config)
		return err
	})
	return done, err
}

// inRepository calls f with the folder that is in place.
func (r *Repositories) inRepository(path string, f func(dir *os.File) error) error {
	tree, err := r.target.Enter()
	if err != nil {
		return err
	}
	defer tree.Leave()
	dir, err := tree.OpenDir(path)
	if folder.Absent(err) {
		return fmt.Errorf("%w: no repository in place: %w", transfer.ErrMismatch, err)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f(dir); errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: no repository in place: %w", transfer.ErrMismatch, err)
	} else if err != nil {
		return err
	}
	return nil
}

// release begins a run, which fences those before it and cleans the mirror, and then exchanges
// the configuration by one rename.
func (r *Repositories) release(ctx context.Context, place transfer.Place) error {
	begun, err := r.Begin(ctx, place)
	if err != nil {
		return err
	}
	run, ours := begun.(*repositoryRun)
	switch {
	case !ours:
		err = fmt.Errorf("release with a run of type %T", begun)
	case run.unsafe != nil:
		err = run.unsafe
	case run.place == nil:
		err = fmt.Errorf("%w: it is no mirror as casq makes it, or a git process still works on it", transfer.ErrMismatch)
	default:
		err = run.place.makeWorking()
	}
	return errors.Join(err, begun.Close())
}

func (m *mirror) makeWorking() error {
	config, err := folder.ReadSmall(m.dir, "config")
	if err != nil {
		return err
	}
	if err := folder.WriteFile(m.dir, stagedConfig, strings.TrimSuffix(config, mirrorSettings)); err != nil {
		return err
	}
	if err := folder.Retry(func() error { return unix.Mkdirat(int(m.dir.Fd()), "hooks", 0o755) }); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make a folder for hooks: %w", err)
	}
	if err := folder.Rename(m.dir, stagedConfig, m.dir, "config", 0); err != nil {
		return err
	}
	return m.dir.Sync()
}

// tidyReleased takes our own files away, which every git process of ours would make again.
func (r *Repositories) tidyReleased(path string) error {
	return r.inRepository(path, func(dir *os.File) error {
		var errs []error
		for _, name := range []string{folder.GuardName, packedName} {
			if err := unix.Unlinkat(int(dir.Fd()), name, 0); !errors.Is(err, unix.ENOENT) {
				errs = append(errs, err)
			}
		}
		return errors.Join(append(errs, dir.Sync())...)
	})
}

// VerifyInPlace is [Repositories.Verify] without a source: the refs in place are compared
// with the [transfer.Result]'s checksum of the copy, and all that they reach is read.
func (r *Repositories) VerifyInPlace(ctx context.Context, place transfer.Place, checksum string) error {
	path, _, err := place.Unclaimed()
	if err != nil {
		return err
	}
	git, end := r.git.session()
	defer end()
	err = r.inRepository(path, func(dir *os.File) error {
		m := &mirror{git: git, dir: dir, reads: true}
		if err := m.compareSum(ctx, checksum); err != nil {
			return err
		}
		return m.check(ctx, math.MaxInt64) // what no ref reaches does not matter
	})
	if ctx.Err() == nil && spoiled(err) {
		err = fmt.Errorf("%w: %w", transfer.ErrMismatch, err)
	}
	if err != nil {
		return fmt.Errorf("verify repository %q: %w", path, err)
	}
	return nil
}

// compareSum compares refs and HEAD with the sum of those that were copied.
func (m *mirror) compareSum(ctx context.Context, checksum string) error {
	if err := m.inspect(); err != nil {
		return err
	}
	have, err := m.realRefs(ctx)
	if err != nil {
		return err
	}
	top, err := m.head()
	if err != nil {
		return err
	}
	if now := have.checksum(top); checksum != "" && now != checksum {
		return fmt.Errorf("%w: its refs are not those that were copied", transfer.ErrMismatch)
	}
	return nil
}
