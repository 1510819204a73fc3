package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// FilesConfig says where files come from and go to.
type FilesConfig struct {
	// Source is where files come from. It is closed with the Files, and also when they
	// cannot be opened. Required.
	Source Source
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
	config FilesConfig
	source Source
	target *root
	pace   *pace
}

// OpenFiles checks the target. Source and target must not contain one another, or a
// publish would write into the source.
func OpenFiles(config FilesConfig) (*Files, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	f := &Files{config: config, source: config.Source, pace: newPace(config.BytesPerSecond)}
	var err error
	if f.target, err = openTarget(config.Target, config.Logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open file target %q: %w", redact(config.Target), err), f.source.Close())
	}
	if from := ofSource(f.source); from != nil {
		if err := from.apart(f.target); err != nil {
			return nil, errors.Join(fmt.Errorf("open file source %q: source and target: %w", from.Name(), err), f.Close())
		}
	}
	return f, nil
}

// SourceFolder is the source's folder; nil if the source is none.
func (f *Files) SourceFolder() *root { return ofSource(f.source) }

// TargetFolder is the target's.
func (f *Files) TargetFolder() *root { return f.target }

// Begin starts a run. It is called after the claim has been committed; when it
// returns, nothing that an earlier claim does can change the place any more.
func (f *Files) Begin(ctx context.Context, place Place) (Run, error) {
	path, from, err := place.paths()
	if err != nil {
		return nil, err
	}
	run, err := f.begin(ctx, path, from, place)
	if err != nil {
		return nil, fmt.Errorf("begin file %q: %w", path, err)
	}
	f.hook(pointMade)
	return run, nil
}

func (f *Files) begin(ctx context.Context, path, from string, place Place) (Run, error) {
	stage, err := f.target.begin(ctx, path, place.Claim)
	if err != nil {
		return nil, err
	}
	return &fileRun{files: f, path: path, from: from, stage: stage, mayAdopt: place.Adopt, limit: limit(place.MaxSize)}, nil
}

// Sweep removes what a claim whose process is dead has left: its staging, and
// folders that it emptied. It makes nothing, and it is no error that there is
// nothing to remove.
func (f *Files) Sweep(ctx context.Context, place Place) error {
	path, _, err := place.paths()
	if err != nil {
		return err
	}
	if err := f.DropStaging(ctx, Staged{Folder: stagingName(path), Claim: place.Claim}); err != nil {
		return fmt.Errorf("sweep file %q: %w", path, err)
	}
	return f.target.prune(path)
}

// Check returns nil, or why source or target are not what they were: see
// [ErrElsewhere]. It is quick.
func (f *Files) Check() error { return errors.Join(f.source.Check(), f.target.check()) }

// Close closes source and target. All runs have to be closed before.
func (f *Files) Close() error { return errors.Join(f.source.Close(), f.target.close()) }

func (f *Files) hook(point string) {
	if f.config.TestHook != nil {
		f.config.TestHook(point)
	}
}
