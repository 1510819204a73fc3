package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"casq/eventlog"
	"casq/jobs"
	"casq/transfer"
	"casq/transfer/bucket"
	"casq/transfer/file"
	"casq/transfer/folder"
	"casq/transfer/git"
	"casq/transfer/web"
)

// movers are the transfers that this worker has a target for.
type movers struct {
	files        mover
	repositories *git.Repositories
	byTransfer   jobs.Transfers
}

// mover is what moves files, whatever their target is.
type mover interface {
	jobs.Transfer
	endpoints
	folder.Folders
}

// endpoints are a source and a target that are open.
type endpoints interface {
	marked
	checker
	Close() error
}

// openFiles chooses by what source and target are: folders, or buckets.
func (w *worker) openFiles(ctx context.Context) (mover, error) {
	source, err := w.openFileSource(ctx)
	if err != nil {
		return nil, errors.Join(err, w.missingTarget())
	}
	if !folder.Is(w.cfg.ArtifactTarget) {
		return bucket.Open(ctx, bucket.Config{
			Source: source, TargetURL: w.cfg.ArtifactTarget, BytesPerSecond: w.cfg.CopyRate, TestHook: w.cfg.Hook,
		})
	}
	return file.Open(file.Config{
		Source: source, Target: w.cfg.ArtifactTarget, BytesPerSecond: w.cfg.CopyRate, Logger: w.log, TestHook: w.cfg.Hook,
	})
}

// missingTarget is why the target is not there either, so that both are told at once.
func (w *worker) missingTarget() error {
	if !folder.Is(w.cfg.ArtifactTarget) {
		return nil
	}
	target, err := folder.OpenTarget(w.cfg.ArtifactTarget, w.log)
	if err != nil {
		return err
	}
	return target.Close()
}

func (w *worker) openFileSource(ctx context.Context) (transfer.Source, error) {
	if web.Is(w.cfg.ArtifactSource) {
		return web.OpenSource(web.Config{URL: w.cfg.ArtifactSource, Token: w.cfg.ArtifactToken, CAFile: w.cfg.SourceCA})
	}
	if !folder.Is(w.cfg.ArtifactSource) {
		return bucket.OpenSource(ctx, w.cfg.ArtifactSource)
	}
	source, err := file.OpenSource(w.cfg.ArtifactSource, w.log)
	if err != nil && w.mayBeAway(err) {
		return transfer.Away{Why: err}, nil
	}
	return source, err
}

// mayBeAway tells whether a worker goes on without a source that cannot be opened.
func (w *worker) mayBeAway(err error) bool {
	return w.cfg.WithoutSources && errors.Is(err, fs.ErrNotExist)
}

// nowhere is a source of repositories that is not there: no name is below invalid.
const nowhere = "https://source.invalid/{key}"

func (w *worker) openRepositories(ctx context.Context) (*git.Repositories, error) {
	cfg := git.Config{
		SourceURL:   w.cfg.RepositorySource,
		TargetDir:   w.cfg.RepositoryTarget,
		Environment: w.cfg.GitEnvironment,
		CAFile:      w.cfg.SourceCA,
		Logger:      w.log,
		TestHook:    w.cfg.Hook,
	}
	repositories, err := git.Open(ctx, cfg)
	if err != nil && w.mayBeAway(err) {
		cfg.SourceURL = nowhere
		repositories, err = git.Open(ctx, cfg)
	}
	return repositories, err
}

// Endpoints are a source and its target, for who looks at them and moves nothing.
type Endpoints interface {
	folder.Folders
	checker
	Mark(ctx context.Context) (transfer.Mark, error)
	Close() error
}

// OpenFiles opens the source and the target of files as a worker does, and marks
// nothing.
func OpenFiles(ctx context.Context, cfg Config) (Endpoints, error) {
	return newWorker(cfg).openFiles(ctx)
}

// OpenRepositories is likewise for repositories.
func OpenRepositories(ctx context.Context, cfg Config) (Endpoints, error) {
	return newWorker(cfg).openRepositories(ctx)
}

func (w *worker) openMovers(ctx context.Context) (*movers, error) {
	m := &movers{byTransfer: make(jobs.Transfers)}
	var err error
	if w.cfg.ArtifactTarget != "" {
		if m.files, err = w.openFiles(ctx); err != nil {
			return nil, err
		}
		m.byTransfer[eventlog.TransferFile] = m.files
	}
	if w.cfg.RepositoryTarget != "" {
		m.repositories, err = w.openRepositories(ctx)
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.byTransfer[eventlog.TransferGit] = m.repositories
	}
	if m.files != nil && m.repositories != nil {
		if err := folder.Apart(m.files, m.repositories); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	if err := w.identifyAll(ctx, m); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (w *worker) identifyAll(ctx context.Context, m *movers) error {
	var errs []error
	if m.files != nil {
		errs = append(errs, w.identify(ctx, eventlog.TransferFile, w.cfg.ArtifactTarget, m.files))
	}
	if m.repositories != nil {
		errs = append(errs, w.identify(ctx, eventlog.TransferGit, w.cfg.RepositoryTarget, m.repositories))
	}
	return errors.Join(errs...)
}

// checker is a transfer that can tell whether its source and target are what they
// were.
type checker interface{ Check() error }

// foldersRole is in the list of roles only while something is wrong with them.
const foldersRole = "folders"

// watchFolders tells /readyz of sources and targets that are not what they were.
// Where an operator has had a target replaced, the new one is taken.
func (w *worker) watchFolders(ctx context.Context) error {
	err := w.movers.check()
	if errors.Is(err, transfer.ErrElsewhere) && w.identifyAll(ctx, w.movers) == nil {
		err = w.movers.check()
	}
	if err != nil {
		w.roles.set(foldersRole, false, err.Error())
		return fmt.Errorf("read sources and targets: %w", err)
	}
	w.roles.drop(foldersRole)
	return nil
}

func (m *movers) check() error {
	var errs []error
	for _, t := range m.byTransfer {
		if c, ok := t.(checker); ok {
			errs = append(errs, c.Check())
		}
	}
	return errors.Join(errs...)
}

func (m *movers) close() error {
	var errs []error
	if m.files != nil {
		errs = append(errs, m.files.Close())
	}
	if m.repositories != nil {
		errs = append(errs, m.repositories.Close())
	}
	return errors.Join(errs...)
}

// handles tells whether this worker can work on resources of the kind.
func (m *movers) handles(k eventlog.Kind) bool {
	return k.Transfer == eventlog.TransferNone || m.byTransfer[k.Transfer] != nil
}
