package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// clone makes a mirror in the own staging.
func (r *repositoryRun) clone(ctx context.Context, remote *remote) (transfer.Result, error) {
	borrowed, err := r.cloneBytes(ctx, remote)
	if err != nil {
		return transfer.Result{}, remote.missing(err)
	}
	result, err := r.follow(ctx, remote, r.finishClone)
	result.Partial = borrowed
	return result, err
}

// follow makes what is staged a mirror of the source as it is now.
func (r *repositoryRun) follow(ctx context.Context, remote *remote, finish func(context.Context, *follower) error) (transfer.Result, error) {
	dir, err := folder.OpenChild(r.stage.Dir(), stagedRepository)
	if err != nil {
		return transfer.Result{}, err
	}
	defer dir.Close()
	clone := &mirror{git: r.git, dir: dir}
	follower := &follower{mirror: clone, remote: remote, claim: r.stage.Claim(), hook: r.repositories.hook}
	if err := finish(ctx, follower); err != nil {
		return transfer.Result{}, err
	}
	if err := r.stage.Tree().Flush(func() error { return syncTree(ctx, dir) }); err != nil {
		return transfer.Result{}, fmt.Errorf("sync clone: %w", err)
	}
	size, err := treeSize(ctx, dir, "objects")
	return transfer.Result{Checksum: follower.want.checksum(follower.head), Size: size}, err
}

// cloneBytes clones, and says whether what was in place has given objects. It is an error of
// nobody that it cannot: it is another's repository, and may be anything.
func (r *repositoryRun) cloneBytes(ctx context.Context, remote *remote) (borrowed bool, err error) {
	if r.lender != nil {
		err := r.cloneWith(ctx, remote, r.lender, "--reference", fmt.Sprintf("/proc/self/fd/%d", lenderFD), "--dissociate")
		if err == nil || ctx.Err() != nil {
			return err == nil, err
		}
		r.log.Info("what is in place cannot be used for the clone", "err", err)
	}
	return false, r.cloneWith(ctx, remote, nil)
}

func (r *repositoryRun) cloneWith(ctx context.Context, remote *remote, lender *os.File, options ...string) error {
	if err := folder.RemoveTree(ctx, r.stage.Dir(), stagedRepository); err != nil {
		return err
	}
	// What is cloned is synced as a whole afterwards, folders included.
	args := []string{"-c", "core.fsync=none", "clone", "--quiet", "--mirror", "--template="}
	args = append(append(args, options...), remote.options()...)
	args = append(args, "--", remote.url, stagedRepository)
	_, err := r.git.run(ctx, gitCall{args: args, dir: r.stage.Dir(), source: remote, lender: lender})
	return err
}

// lend opens a repository that is in place and no mirror of ours, if nothing in it leads git
// elsewhere: a clone takes from it what it has already. Its own settings and hooks are left.
func lend(ctx context.Context, dir *os.File) (*os.File, error) {
	for _, part := range sourceParts {
		if err := inspectPart(ctx, dir, part.name, part.kind, part.needed); err != nil {
			return nil, err
		}
	}
	for _, elsewhere := range []string{folder.GuardName, "commondir", "objects/info/alternates"} {
		if kind, err := folder.KindOf(int(dir.Fd()), elsewhere); err != nil || kind != folder.KindAbsent {
			return nil, errors.Join(err, fmt.Errorf("%w: %s/%s leads elsewhere, or is a mirror's", transfer.ErrUnsafe, dir.Name(), elsewhere))
		}
	}
	return folder.OpenChild(dir, ".")
}

// finishClone compares the clone with the source, ref by ref, brings what came
// meanwhile, and takes out refs of ours that a source which is a mirror has shown.
func (r *repositoryRun) finishClone(ctx context.Context, f *follower) error {
	if err := f.mirror.adopt(ctx); err != nil {
		return err
	}
	before, err := f.mirror.head()
	if err != nil {
		return err
	}
	foreign, err := f.mirror.claimRefs(ctx)
	if err != nil {
		return err
	}
	if err := f.follow(ctx); err != nil {
		return err
	}
	for name, oid := range foreign {
		f.scratch[oursRefs+name] = oid
	}
	return f.bring(ctx, before)
}

// bring makes the refs and HEAD, which was before, of a mirror in staging what they are to be.
func (f *follower) bring(ctx context.Context, before head) error {
	changes := diff(f.have, f.want)
	if changes.size()+len(f.scratch) > 0 {
		_, err := f.mirror.run(ctx, gitCall{
			args:  []string{"-c", "core.fsync=none", "update-ref", "--no-deref", "--stdin"},
			stdin: changes.script("", "", f.scratch),
		})
		if err != nil {
			return fmt.Errorf("bring the clone up to date: %w", err)
		}
	}
	if before != f.head {
		if err := folder.WriteFile(f.mirror.dir, "HEAD", string(f.head)+"\n"); err != nil {
			return err
		}
	}
	return f.mirror.dropClaim(ctx, f.claim)
}

// prepare makes way for a clone. A repository is exchanged: it can be opened and
// renamed only as a whole, and it lies in our staging until Close. A folder that
// holds other repositories is not ours to take away.
func (r *repositoryRun) prepare(parent *os.File, base string) (uint, error) {
	if err := r.notNested(); err != nil {
		return 0, err
	}
	kind, err := folder.KindOf(int(parent.Fd()), base)
	if err != nil || kind == folder.KindAbsent {
		return 0, err
	}
	if kind != folder.KindDir {
		return 0, kind.InTheWay(parent.Name() + "/" + base)
	}
	dir, err := folder.OpenChild(parent, base)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	repository, err := isRepository(dir)
	if repository || err != nil {
		return unix.RENAME_EXCHANGE, err
	}
	if err := folder.RemoveEmpty(parent, base); !errors.Is(err, unix.ENOENT) {
		return 0, err
	}
	return 0, nil
}

// notNested refuses a place inside another repository.
func (r *repositoryRun) notNested() error {
	for above := path.Dir(r.path); above != "."; above = path.Dir(above) {
		dir, err := r.stage.Tree().OpenDir(above)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		repository, err := isRepository(dir)
		_ = dir.Close()
		if err != nil {
			return err
		}
		if repository {
			return fmt.Errorf("%w: %s is a repository, and nothing can lie inside it", transfer.ErrOccupied, dir.Name())
		}
	}
	return nil
}
