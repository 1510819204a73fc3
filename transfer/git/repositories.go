package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Config says where git repositories come from and go to.
type Config struct {
	// SourceURL is a folder with repositories, or a URL with {key} where source prefix
	// and key go: file:///srv/repos/{key}.git, https://host/{key}.git,
	// ssh://git@host/{key}.git. Required. In https and ssh URLs the key is escaped.
	SourceURL string
	// TargetDir is an existing folder on one file system, whose file system can
	// exchange two names (ext4, xfs, btrfs, tmpfs). Required.
	TargetDir string
	// AllowedProtocols are those that SourceURL may have and that git may use, also
	// after a redirect. Remote helpers (ext::) are never allowed. Defaults to file,
	// https and ssh.
	AllowedProtocols []string
	// GitPath is the git program. Defaults to the one in PATH.
	GitPath string
	// Environment is given to git besides what this package sets: SSH_AUTH_SOCK,
	// GIT_SSH_COMMAND, https_proxy, HOME for a .netrc. Defaults to none: nothing is
	// inherited from this process.
	Environment []string
	// CAFile has the certificates of those who may sign the one of an https source, in PEM.
	// Defaults to whom this machine trusts.
	CAFile string
	// Logger gets what is worth knowing and no error. Defaults to discarding.
	Logger *slog.Logger

	// TestHook is for tests: it is called at named points, so that a test can
	// stop a process there.
	TestHook func(point string)
}

// Points at which TestHook is called, besides those of every transfer.
const (
	pointBeforeRefs = "git:before-update-ref"
	pointListed     = "git:listed" // the refs of the source
)

// Repositories moves git repositories into bare mirrors. It is safe for
// concurrent use. The mirrors are its own: whatever else is changed in them (their
// config, hooks, refs) is lost sooner or later.
type Repositories struct {
	config Config
	source *template
	target *folder.Root
	git    *git
	// grace is how long Begin waits for git processes of dead claims to end, before
	// it gives the mirror up and clones.
	grace time.Duration
	// inPlace is how many refs one transaction may change in place. More are
	// cloned: 1,000 loose refs took 0.4 s on a virtual disk, and the caller's row
	// is locked for as long; an exchange takes the same moment for any number.
	inPlace int
	// looseRefs and unreachable are when mirrors are tidied up.
	looseRefs   int
	unreachable time.Duration
}

// Open checks source, target and git. ctx is for opening only.
func Open(ctx context.Context, config Config) (*Repositories, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.AllowedProtocols = slices.Clone(config.AllowedProtocols)
	if len(config.AllowedProtocols) == 0 {
		config.AllowedProtocols = []string{"file", "https", "ssh"}
	}
	r := &Repositories{config: config, grace: 5 * time.Second, inPlace: 500, looseRefs: manyLooseRefs, unreachable: unreachableFor}
	if err := r.open(ctx); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Repositories) open(ctx context.Context) (err error) {
	for _, protocol := range r.config.AllowedProtocols {
		if !schemeName.MatchString(protocol) || protocol == "ext" {
			return fmt.Errorf("allow git protocol %q: not possible; use file, https, ssh, http or git", protocol)
		}
	}
	if r.target, err = folder.OpenTarget(r.config.TargetDir, r.config.Logger); err != nil {
		return fmt.Errorf("open repository target %q: %w", transfer.RedactAddress(r.config.TargetDir), err)
	}
	if err := r.openSource(); err != nil {
		return fmt.Errorf("open repository source %q: %w", transfer.RedactAddress(r.config.SourceURL), err)
	}
	r.git, err = openGit(ctx, r.config, r.source.login)
	return err
}

func (r *Repositories) openSource() (err error) {
	r.source, err = parseTemplate(r.config.SourceURL, r.config.AllowedProtocols, r.config.Logger)
	if err != nil || r.source.folder == nil {
		return err
	}
	if err := r.source.folder.Apart(r.target); err != nil {
		return fmt.Errorf("source and target: %w", err)
	}
	return nil
}

// SourceFolder is the source's folder; nil if the source is none.
func (r *Repositories) SourceFolder() *folder.Root { return r.source.folder }

// TargetFolder is the target's.
func (r *Repositories) TargetFolder() *folder.Root { return r.target }

// ListAside returns the names of what was put aside.
func (r *Repositories) ListAside(ctx context.Context) ([]string, error) {
	return r.target.ListAside(ctx)
}

// DropAside deletes what was put aside.
func (r *Repositories) DropAside(ctx context.Context, name string) error {
	return r.target.DropAside(ctx, name)
}

// Check returns nil, or why source or target are not what they were: see
// [transfer.ErrElsewhere]. It is quick.
func (r *Repositories) Check() error {
	err := r.target.Check()
	if r.source.folder != nil {
		err = errors.Join(r.source.folder.Check(), err)
	}
	return err
}

// Close closes source and target. All runs have to be closed before.
func (r *Repositories) Close() error {
	var errs []error
	if r.source != nil {
		errs = append(errs, r.source.close())
	}
	if r.target != nil {
		errs = append(errs, r.target.Close())
	}
	if r.git != nil {
		errs = append(errs, r.git.close())
	}
	return errors.Join(errs...)
}

// Begin starts a run. It is called after the claim has been committed; when it
// returns, nothing that an earlier claim does can change the place any more.
func (r *Repositories) Begin(ctx context.Context, place transfer.Place) (transfer.Run, error) {
	path, from, err := place.Paths()
	if err != nil {
		return nil, err
	}
	stage, err := r.target.Begin(ctx, path, place.Claim)
	if err != nil {
		return nil, fmt.Errorf("begin repository %q: %w", path, err)
	}
	if err := stage.MakeDir(); err != nil {
		return nil, fmt.Errorf("begin repository %q: %w", path, errors.Join(err, stage.Drop(context.WithoutCancel(ctx), false)))
	}
	r.hook(transfer.PointMade)
	session, end := r.git.session()
	run := &repositoryRun{git: session, end: end, repositories: r, path: path, from: from, stage: stage, log: r.config.Logger.With("path", path)}
	run.base, run.mayBorrow = place.Base, place.Adopt
	if place.Aside != 0 {
		if err := run.setAside(ctx, place.Aside); err != nil {
			return nil, fmt.Errorf("begin repository %q: %w", path, errors.Join(err, run.Close()))
		}
	}
	if place.Fresh {
		return run, nil
	}
	if err := run.openPlace(ctx); err != nil {
		return nil, fmt.Errorf("begin repository %q: %w", path, errors.Join(err, run.Close()))
	}
	return run, nil
}

// openPlace opens the mirror in place and cleans it. One that is not there or
// not usable is no error: the copy will be a clone.
func (r *repositoryRun) openPlace(ctx context.Context) error {
	dir, err := r.stage.Tree().OpenDir(r.path)
	if folder.Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	r.place = &mirror{git: r.git, dir: dir}
	err = r.place.inspect()
	if err == nil {
		var alone bool
		if alone, err = r.place.heal(ctx, r.repositories.grace); err == nil && !alone {
			err = fmt.Errorf("%w: a git process of an earlier run holds on to it", errBroken)
		}
	}
	switch {
	case broken(err), errors.Is(err, unix.ENOENT):
		if r.mayBorrow {
			if lender, err := lend(ctx, dir); err == nil {
				r.lender = lender
			}
		}
		r.giveUpPlace(err)
		return nil
	case errors.Is(err, transfer.ErrUnsafe):
		// A removal does not go into the repository, so only a copy is refused.
		r.unsafe = err
		return nil
	}
	return err
}

// giveUpPlace makes the copy a clone, and the publish an exchange: whatever
// still works in the mirror that is there will be left with a deleted folder.
func (r *repositoryRun) giveUpPlace(why error) {
	r.log.Warn("mirror in place can not be used, a copy will be a new clone", "err", why)
	_ = r.place.dir.Close()
	r.place = nil
}

// Sweep removes what a claim whose process is dead has left: its staging, its
// refs in the mirror, and folders that it emptied. It makes nothing, and it is
// no error that there is nothing to remove.
func (r *Repositories) Sweep(ctx context.Context, place transfer.Place) error {
	path, _, err := place.Paths()
	if err != nil {
		return err
	}
	tree, err := r.target.Enter()
	if err != nil {
		return fmt.Errorf("sweep repository %q: %w", path, err)
	}
	defer tree.Leave()
	if err := errors.Join(tree.DropStaging(ctx, transfer.Staged{Folder: transfer.StagingName(path), Claim: place.Claim}), r.sweepRefs(ctx, tree, path, place.Claim)); err != nil {
		return fmt.Errorf("sweep repository %q: %w", path, err)
	}
	tree.PruneParents(path)
	return nil
}

func (r *Repositories) sweepRefs(ctx context.Context, tree *folder.Tree, path, claim string) error {
	dir, err := tree.OpenDir(path)
	if folder.Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if like, err := isRepository(dir); !like || err != nil {
		return err
	}
	err = (&mirror{git: r.git, dir: dir}).dropClaim(ctx, claim)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// isRepository is true for a folder that is a bare repository, or what is left
// of one, and false for one that holds other resources.
func isRepository(dir *os.File) (bool, error) {
	kinds := map[string]folder.Kind{}
	for _, name := range []string{"HEAD", "config", "packed-refs", "objects", "refs"} {
		kind, err := folder.KindOf(int(dir.Fd()), name)
		if err != nil {
			return false, err
		}
		kinds[name] = kind
	}
	return kinds["HEAD"] == folder.KindFile || kinds["config"] == folder.KindFile || kinds["packed-refs"] == folder.KindFile ||
		(kinds["objects"] == folder.KindDir && kinds["refs"] == folder.KindDir), nil
}

func (r *Repositories) hook(point string) {
	if r.config.TestHook != nil {
		r.config.TestHook(point)
	}
}
