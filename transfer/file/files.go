package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"casq/transfer"
	"casq/transfer/folder"
)

// Config says where files come from and go to.
type Config struct {
	// Source is where files come from. It is closed with the Files, and also when they
	// cannot be opened. Required.
	Source transfer.Source
	// Target is an existing folder (a path or a file:// URL) on one file system. Required.
	Target string
	// BytesPerSecond limits how fast all copies together read. 0 is no limit.
	BytesPerSecond int64
	// Logger gets what is worth knowing and no error. Defaults to discarding.
	Logger *slog.Logger

	// TestHook is for tests: it is called at named points, so that a test can
	// stop a process there.
	TestHook func(point string)
}

// Files moves files into a folder. It is safe for concurrent use.
type Files struct {
	config Config
	source transfer.Source
	target *folder.Root
	pace   *transfer.Pace
}

// Open checks the target. Source and target must not contain one another, or a
// publish would write into the source.
func Open(config Config) (*Files, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	f := &Files{config: config, source: config.Source, pace: transfer.NewPace(config.BytesPerSecond)}
	var err error
	if f.target, err = folder.OpenTarget(config.Target, config.Logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open file target %q: %w", transfer.Redact(config.Target), err), f.source.Close())
	}
	if from := folder.OfSource(f.source); from != nil {
		if err := from.Apart(f.target); err != nil {
			return nil, errors.Join(fmt.Errorf("open file source %q: source and target: %w", from.Name(), err), f.Close())
		}
	}
	return f, nil
}

// SourceFolder is the source's folder; nil if the source is none.
func (f *Files) SourceFolder() *folder.Root { return folder.OfSource(f.source) }

// TargetFolder is the target's.
func (f *Files) TargetFolder() *folder.Root { return f.target }

// Begin starts a run. It is called after the claim has been committed; when it
// returns, nothing that an earlier claim does can change the place any more.
func (f *Files) Begin(ctx context.Context, place transfer.Place) (transfer.Run, error) {
	path, from, err := place.Paths()
	if err != nil {
		return nil, err
	}
	run, err := f.begin(ctx, path, from, place)
	if err != nil {
		return nil, fmt.Errorf("begin file %q: %w", path, err)
	}
	f.hook(transfer.PointMade)
	return run, nil
}

func (f *Files) begin(ctx context.Context, path, from string, place transfer.Place) (transfer.Run, error) {
	stage, err := f.target.Begin(ctx, path, place.Claim)
	if err != nil {
		return nil, err
	}
	r := &fileRun{files: f, path: path, from: from, stage: stage, mayAdopt: place.Adopt, base: place.Base, limit: transfer.Limit(place.MaxSize)}
	if place.Aside != 0 {
		if err := stage.SetAside(ctx, place.Aside, r.isFile, stage.Tree().Link); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Sweep removes what a claim whose process is dead has left: its staging, and
// folders that it emptied. It makes nothing, and it is no error that there is
// nothing to remove.
func (f *Files) Sweep(ctx context.Context, place transfer.Place) error {
	path, _, err := place.Paths()
	if err != nil {
		return err
	}
	if err := f.DropStaging(ctx, transfer.Staged{Folder: transfer.StagingName(path), Claim: place.Claim}); err != nil {
		return fmt.Errorf("sweep file %q: %w", path, err)
	}
	return f.target.Prune(path)
}

// ListAside returns the names of what was put aside.
func (f *Files) ListAside(ctx context.Context) ([]string, error) { return f.target.ListAside(ctx) }

// DropAside deletes what was put aside.
func (f *Files) DropAside(ctx context.Context, name string) error {
	return f.target.DropAside(ctx, name)
}

// Check returns nil, or why source or target are not what they were: see
// [transfer.ErrElsewhere]. It is quick.
func (f *Files) Check() error { return errors.Join(f.source.Check(), f.target.Check()) }

// Close closes source and target. All runs have to be closed before.
func (f *Files) Close() error { return errors.Join(f.source.Close(), f.target.Close()) }

func (f *Files) hook(point string) {
	if f.config.TestHook != nil {
		f.config.TestHook(point)
	}
}
