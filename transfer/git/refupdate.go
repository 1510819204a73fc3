package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"
)

// update fetches into the mirror in place and prepares the ref transaction.
func (r *repositoryRun) update(ctx context.Context, remote *remote) (transfer.Result, error) {
	follower := &follower{mirror: r.place, remote: remote, claim: r.stage.Claim(), hook: r.repositories.hook}
	before, err := r.place.head()
	if err != nil {
		return transfer.Result{}, err
	}
	// Copy may be called again; what the first call fetched must not be listed.
	if err := r.place.dropClaim(ctx, r.stage.Claim()); err != nil {
		return transfer.Result{}, err
	}
	if err := r.tidy(ctx); err != nil {
		return transfer.Result{}, err
	}
	held, err := treeSize(ctx, r.place.dir, "objects")
	if err != nil {
		return transfer.Result{}, err
	}
	if err := follower.follow(ctx); err != nil {
		return transfer.Result{}, err
	}
	r.changes = diff(follower.have, follower.want)
	if r.changes.size() > r.repositories.inPlace {
		return transfer.Result{}, fmt.Errorf("%w for %d changed refs", errBroken, r.changes.size())
	}
	r.scratch, r.newHead = follower.scratch, before != follower.head
	if r.newHead {
		if err := folder.WriteFile(r.stage.Dir(), stagedHead, string(follower.head)+"\n"); err != nil {
			return transfer.Result{}, err
		}
	}
	size, err := r.place.persist(ctx)
	if err != nil {
		return transfer.Result{}, err
	}
	if err := r.stage.Check(); err != nil {
		return transfer.Result{}, err
	}
	// Without a change there is nothing that a late run could do.
	if r.changes.size() > 0 {
		r.fence = follower.fence()
		if r.fenceOID, err = follower.raiseFence(ctx); err != nil {
			return transfer.Result{}, err
		}
	}
	return transfer.Result{Checksum: follower.want.checksum(follower.head), Size: size, Held: min(held, size), Partial: true}, nil
}

// publishInPlace is one ref transaction, and one rename if HEAD differs. The
// transaction is fenced by the fence ref, the rename by the staging folder.
func (r *repositoryRun) publishInPlace(ctx context.Context) error {
	if err := r.stage.Check(); err != nil {
		return err
	}
	if err := r.samePlace(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.repositories.hook(pointBeforeRefs)
	if r.changes.size() > 0 {
		if err := r.updateRefs(ctx); err != nil {
			return err
		}
	}
	if r.newHead {
		if err := folder.Rename(r.stage.Dir(), stagedHead, r.place.dir, "HEAD", 0); err != nil {
			return r.stage.FencedRename(err)
		}
		if err := r.place.dir.Sync(); err != nil {
			return err
		}
	}
	if r.changes.size() == 0 {
		return r.stage.Check()
	}
	return nil
}

func (r *repositoryRun) updateRefs(ctx context.Context) error {
	_, err := r.place.run(ctx, gitCall{
		args:  []string{"-c", "core.fsync=all", "update-ref", "--no-deref", "--stdin"},
		stdin: r.changes.script(r.fence, r.fenceOID, r.scratch),
	})
	if r.fence != "" && said(err, r.fence) {
		return fmt.Errorf("%w: its fence ref is gone: %w", transfer.ErrFenced, err)
	}
	if err != nil {
		return fmt.Errorf("update refs: %w", err)
	}
	return r.place.syncRefs(r.changes)
}

// samePlace makes sure that the mirror that was fetched into is the one that
// is in place. Only another run could have changed that, and would have fenced us.
func (r *repositoryRun) samePlace() error {
	if err := r.stage.Tree().Here(); err != nil {
		return err
	}
	dir, err := r.stage.Tree().OpenDir(r.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	same, err := folder.SameFile(dir, r.place.dir)
	if err == nil && !same {
		err = errors.New("the repository in place is another one than when the copy began; try again")
	}
	return err
}

// syncRefs syncs the folders in which an update of refs has made and removed
// files: git syncs the files only.
func (m *mirror) syncRefs(c changes) error {
	folders := map[string]bool{".": true, "refs": true}
	for _, names := range [][]string{c.first, c.then} {
		for _, name := range names {
			for parent := range parents(name) {
				folders[parent] = true
			}
		}
	}
	for name := range folders {
		if err := syncFolder(m.dir, strings.Split(name, "/")); err != nil {
			return fmt.Errorf("sync refs: %w", err)
		}
	}
	return nil
}
