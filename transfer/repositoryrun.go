package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Names inside a claim's staging folder, besides stagedRemoved.
const (
	stagedRepository = "repository"
	stagedHead       = "HEAD"
)

// repositoryRun implements Run for repositories.
type repositoryRun struct {
	repositories *Repositories
	path         string
	stage        *stage
	log          *slog.Logger
	// place is the mirror that is updated in place; nil: a clone is staged.
	place *mirror
	// unsafe is why the mirror in place must not be touched by git.
	unsafe error

	staged    bool
	published bool
	removed   bool
	// What a publish in place does.
	changes  changes
	scratch  refs
	fence    string
	fenceOID string
	newHead  bool
}

func (r *repositoryRun) Copy(ctx context.Context, payload json.RawMessage) (Result, error) {
	r.staged, r.published = false, false
	result, err := r.copy(ctx, payload)
	if err != nil {
		return Result{}, fmt.Errorf("copy repository %q: %w", r.path, r.lost(err))
	}
	r.staged = true
	r.repositories.hook(pointStaged)
	return result, nil
}

func (r *repositoryRun) copy(ctx context.Context, payload json.RawMessage) (Result, error) {
	// No member is needed, and none names the source: a payload is data of the
	// application's users.
	if _, err := members(payload); err != nil {
		return Result{}, err
	}
	if r.unsafe != nil {
		return Result{}, r.unsafe
	}
	if err := r.stage.check(); err != nil {
		return Result{}, err
	}
	if err := r.notNested(); err != nil {
		return Result{}, err
	}
	remote, err := r.repositories.source.remote(r.path)
	if err != nil {
		return Result{}, err
	}
	defer remote.close()
	if r.place != nil {
		result, err := r.update(ctx, remote)
		if err == nil || ctx.Err() != nil || (!errors.Is(err, errBroken) && !damaged(err)) {
			return result, err
		}
		r.giveUpPlace(err)
	}
	return r.clone(ctx, remote)
}

// damaged is true for what git says of a repository that lacks objects. If it
// is the source that does, the clone that follows says so again.
func damaged(err error) bool {
	return said(err, "bad object", "missing", "corrupt", "unable to read", "invalid sha1 pointer",
		"invalid object", "not a valid object", "did not send all necessary objects", "bad tree", "bad index",
		"mismatched algorithms", "packfile")
}

// lost names the fence as the cause of an error where it is.
func (r *repositoryRun) lost(err error) error {
	if errors.Is(err, ErrFenced) {
		return err
	}
	if fenced := r.stage.check(); errors.Is(fenced, ErrFenced) {
		return fmt.Errorf("%w: %w", fenced, err)
	}
	return err
}

// update fetches into the mirror in place and prepares the ref transaction.
func (r *repositoryRun) update(ctx context.Context, remote *remote) (Result, error) {
	follower := &follower{mirror: r.place, remote: remote, claim: r.stage.claim}
	before, err := r.place.head()
	if err != nil {
		return Result{}, err
	}
	// Copy may be called again; what the first call fetched must not be listed.
	if err := r.place.dropClaim(ctx, r.stage.claim); err != nil {
		return Result{}, err
	}
	if err := follower.follow(ctx); err != nil {
		return Result{}, err
	}
	r.changes = diff(follower.have, follower.want)
	if r.changes.size() > r.repositories.inPlace {
		return Result{}, fmt.Errorf("%w for %d changed refs", errBroken, r.changes.size())
	}
	r.scratch, r.newHead = follower.scratch, before != follower.head
	if r.newHead {
		if err := writeFile(r.stage.dir, stagedHead, string(follower.head)+"\n"); err != nil {
			return Result{}, err
		}
	}
	r.place.repack(ctx, r.log)
	size, err := r.place.settle(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := r.stage.check(); err != nil {
		return Result{}, err
	}
	// Without a change there is nothing that a late run could do.
	if r.changes.size() > 0 {
		r.fence = follower.fence()
		if r.fenceOID, err = follower.raiseFence(ctx); err != nil {
			return Result{}, err
		}
	}
	return Result{Checksum: follower.want.checksum(follower.head), Size: size}, nil
}

// clone makes a mirror in the own staging.
func (r *repositoryRun) clone(ctx context.Context, remote *remote) (Result, error) {
	if err := removeTree(ctx, r.stage.dir, stagedRepository); err != nil {
		return Result{}, err
	}
	// What is cloned is synced as a whole afterwards, folders included.
	args := []string{"-c", "core.fsync=none", "clone", "--quiet", "--mirror", "--template="}
	args = append(append(args, remote.options()...), "--", remote.url, stagedRepository)
	_, err := r.repositories.git.run(ctx, gitCall{args: args, dir: r.stage.dir, source: remote.folder})
	if err != nil {
		return Result{}, remote.missing(err)
	}
	dir, err := openChild(r.stage.dir, stagedRepository)
	if err != nil {
		return Result{}, err
	}
	defer dir.Close()
	clone := &mirror{git: r.repositories.git, dir: dir}
	follower := &follower{mirror: clone, remote: remote, claim: r.stage.claim}
	if err := r.finishClone(ctx, follower); err != nil {
		return Result{}, err
	}
	if err := syncTree(ctx, dir); err != nil {
		return Result{}, fmt.Errorf("sync clone: %w", err)
	}
	size, err := treeSize(ctx, dir, "objects")
	return Result{Checksum: follower.want.checksum(follower.head), Size: size}, err
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
	foreign, err := f.mirror.refs(ctx, oursRefs)
	if err != nil {
		return err
	}
	if err := f.follow(ctx); err != nil {
		return err
	}
	for name, oid := range foreign {
		f.scratch[oursRefs+name] = oid
	}
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
		if err := writeFile(f.mirror.dir, "HEAD", string(f.head)+"\n"); err != nil {
			return err
		}
	}
	return f.mirror.dropClaim(ctx, f.claim)
}

func (r *repositoryRun) Publish(ctx context.Context) error {
	if err := r.publish(ctx); err != nil {
		return fmt.Errorf("publish repository %q: %w", r.path, err)
	}
	return nil
}

func (r *repositoryRun) publish(ctx context.Context) error {
	switch {
	case !r.staged:
		return errors.New("nothing has been copied")
	case r.published:
		return r.stage.check()
	case r.place == nil:
		if err := r.stage.putInPlace(ctx, stagedRepository, r.prepare, r.repositories.hook); err != nil {
			return err
		}
	default:
		if err := r.publishInPlace(ctx); err != nil {
			return r.lost(err)
		}
	}
	r.published = true
	return nil
}

// prepare makes way for a clone. A repository is exchanged: it can be opened and
// renamed only as a whole, and it lies in our staging until Close. A folder that
// holds other repositories is not ours to take away.
func (r *repositoryRun) prepare(parent *os.File, base string) (uint, error) {
	if err := r.notNested(); err != nil {
		return 0, err
	}
	kind, err := leafKind(int(parent.Fd()), base)
	if err != nil || kind == kindAbsent {
		return 0, err
	}
	if kind != kindDir {
		return 0, kind.inTheWay(parent.Name() + "/" + base)
	}
	dir, err := openChild(parent, base)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	repository, err := isRepository(dir)
	if repository || err != nil {
		return unix.RENAME_EXCHANGE, err
	}
	if err := removeEmpty(parent, base); !errors.Is(err, unix.ENOENT) {
		return 0, err
	}
	return 0, nil
}

// notNested refuses a place inside another repository.
func (r *repositoryRun) notNested() error {
	for above := path.Dir(r.path); above != "."; above = path.Dir(above) {
		dir, err := r.repositories.target.openDir(above)
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
			return fmt.Errorf("%w: %s is a repository, and nothing can lie inside it", ErrOccupied, dir.Name())
		}
	}
	return nil
}

// publishInPlace is one ref transaction, and one rename if HEAD differs. The
// transaction is fenced by the fence ref, the rename by the staging folder.
func (r *repositoryRun) publishInPlace(ctx context.Context) error {
	naive := r.repositories.config.TestUnfenced
	if !naive {
		if err := r.stage.check(); err != nil {
			return err
		}
	}
	if err := r.samePlace(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.repositories.hook(pointBeforeRefs)
	if r.changes.size() > 0 {
		if err := r.updateRefs(ctx, naive); err != nil {
			return err
		}
	}
	if r.newHead {
		if err := rename(r.stage.dir, stagedHead, r.place.dir, "HEAD", 0); err != nil {
			return r.stage.fencedRename(err)
		}
		if err := r.place.dir.Sync(); err != nil {
			return err
		}
	}
	if r.changes.size() == 0 && !naive {
		return r.stage.check()
	}
	return nil
}

func (r *repositoryRun) updateRefs(ctx context.Context, naive bool) error {
	script := r.changes.script(r.fence, r.fenceOID, r.scratch)
	if naive {
		script = r.changes.script("", "", nil)
	}
	_, err := r.place.run(ctx, gitCall{
		args:  []string{"-c", "core.fsync=all", "update-ref", "--no-deref", "--stdin"},
		stdin: script,
	})
	if r.fence != "" && said(err, r.fence) && !naive {
		return fmt.Errorf("%w: its fence ref is gone: %w", ErrFenced, err)
	}
	if err != nil {
		return fmt.Errorf("update refs: %w", err)
	}
	return r.place.syncRefs(r.changes)
}

// samePlace makes sure that the mirror that was fetched into is the one that
// is in place. Only another run could have changed that, and would have fenced us.
func (r *repositoryRun) samePlace() error {
	dir, err := r.repositories.target.openDir(r.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	same, err := sameFile(dir, r.place.dir)
	if err == nil && !same {
		err = errors.New("the repository in place is another one than when the copy began; try again")
	}
	return err
}

func (r *repositoryRun) Remove(ctx context.Context) error {
	r.removed = true
	if err := r.stage.takeAway(ctx, stagedRemoved, isRepositoryAt, r.repositories.hook); err != nil {
		return fmt.Errorf("remove repository %q: %w", r.path, err)
	}
	return nil
}

// isRepositoryAt is false for a file and for a folder of other things: the
// repository is not there, then.
func isRepositoryAt(parent *os.File, base string) (bool, error) {
	kind, err := leafKind(int(parent.Fd()), base)
	if err != nil {
		return false, err
	}
	if kind == kindLink || kind == kindOther {
		return false, kind.inTheWay(parent.Name() + "/" + base)
	}
	if kind != kindDir {
		return false, nil
	}
	dir, err := openChild(parent, base)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	return isRepository(dir)
}

// Close deletes the staging, and with it the repository that was removed or
// exchanged, and what a fetch in place left below refs/casq/.
func (r *repositoryRun) Close() error {
	ctx := context.Background()
	var errs []error
	if r.place != nil {
		err := r.place.dropClaim(ctx, r.stage.claim)
		if !errors.Is(err, unix.ENOENT) { // the mirror itself has been removed
			errs = append(errs, err)
		}
		errs = append(errs, r.place.dir.Close())
		r.place = nil
	}
	errs = append(errs, r.stage.drop(ctx))
	if r.removed || !r.published {
		r.repositories.target.pruneParents(r.path)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close repository %q: %w", r.path, err)
	}
	return nil
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
	for folder := range folders {
		if err := syncFolder(m.dir, strings.Split(folder, "/")); err != nil {
			return fmt.Errorf("sync refs: %w", err)
		}
	}
	return nil
}
