package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Names inside a claim's staging folder.
const (
	stagedRepository = "repository"
	stagedHead       = "HEAD"
)

// repositoryRun implements Run for repositories.
type repositoryRun struct {
	repositories *Repositories
	path         string // relative to the target
	from         string // in the source
	stage        *folder.Stage
	log          *slog.Logger
	git          *git
	end          func() // of the session that git is
	// place is the mirror that is updated in place; nil: a clone is staged.
	place *mirror
	// base is where a copy of the repository is, under the key that it had; nil: nowhere.
	base *transfer.Base
	// mayBorrow says that no run of ours has put there what is in place, see [transfer.Place];
	// lender is that repository, if a clone can take objects from it.
	mayBorrow bool
	lender    *os.File
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

func (r *repositoryRun) Copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	r.staged, r.published = false, false
	result, err := r.copy(ctx, payload)
	if err != nil {
		return transfer.Result{}, fmt.Errorf("copy repository %q: %w", r.path, r.lost(err))
	}
	r.staged = true
	r.repositories.hook(transfer.PointStaged)
	return result, nil
}

func (r *repositoryRun) copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	// No member is needed, and none names the source: a payload is data of the
	// application's users.
	if _, err := transfer.Members(payload); err != nil {
		return transfer.Result{}, err
	}
	if r.unsafe != nil {
		return transfer.Result{}, r.unsafe
	}
	if err := r.stage.Check(); err != nil {
		return transfer.Result{}, err
	}
	if err := r.notNested(); err != nil {
		return transfer.Result{}, err
	}
	var result transfer.Result
	err := r.repositories.reading(ctx, r.from, func(remote *remote) (err error) {
		result, err = r.copyFrom(ctx, remote)
		return err
	})
	return result, err
}

func (r *repositoryRun) copyFrom(ctx context.Context, remote *remote) (transfer.Result, error) {
	if r.place != nil {
		result, err := r.update(ctx, remote)
		if err == nil || ctx.Err() != nil || (!broken(err) && !damaged(err)) {
			return result, err
		}
		r.giveUpPlace(err)
	}
	if r.base != nil {
		result, err := r.cloneBase(ctx, remote)
		if err == nil || ctx.Err() != nil || (!broken(err) && !damaged(err)) {
			return result, err
		}
		r.log.Warn("the mirror under the key before can not be used, it is cloned anew", "err", err)
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
	if errors.Is(err, transfer.ErrFenced) {
		return err
	}
	if fenced := r.stage.Check(); errors.Is(fenced, transfer.ErrFenced) {
		return fmt.Errorf("%w: %w", fenced, err)
	}
	return err
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
		return r.stage.Check()
	case r.place == nil:
		if err := r.stage.PutInPlace(ctx, stagedRepository, r.prepare, r.repositories.hook); err != nil {
			return err
		}
	default:
		if err := r.publishInPlace(ctx); err != nil {
			return r.lost(err)
		}
		if err := r.stage.Tree().Here(); err != nil {
			return err
		}
	}
	r.published = true
	return nil
}

func (r *repositoryRun) Remove(ctx context.Context) error {
	r.removed = true
	if err := r.stage.TakeAway(ctx, isRepositoryAt, r.repositories.hook); err != nil {
		return fmt.Errorf("remove repository %q: %w", r.path, err)
	}
	return nil
}

// isRepositoryAt is false for a file and for a folder of other resources: the
// repository is not there, then.
func isRepositoryAt(parent *os.File, base string) (bool, error) {
	kind, err := folder.KindOf(int(parent.Fd()), base)
	if err != nil {
		return false, err
	}
	if kind == folder.KindLink || kind == folder.KindOther {
		return false, kind.InTheWay(parent.Name() + "/" + base)
	}
	if kind != folder.KindDir {
		return false, nil
	}
	dir, err := folder.OpenChild(parent, base)
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
	defer r.end()
	var errs []error
	if r.place != nil {
		err := r.place.dropClaim(ctx, r.stage.Claim())
		if !errors.Is(err, unix.ENOENT) { // the mirror itself has been removed
			errs = append(errs, err)
		}
		errs = append(errs, r.place.dir.Close())
		r.place = nil
	}
	if r.lender != nil {
		errs = append(errs, r.lender.Close())
		r.lender = nil
	}
	errs = append(errs, r.stage.Drop(ctx, r.removed || !r.published))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close repository %q: %w", r.path, err)
	}
	return nil
}
