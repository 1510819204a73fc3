package bucket

import (
	"context"
	"errors"
	"fmt"

	"casq/transfer"
	"casq/transfer/folder"
)

// Config says where files come from and go to.
type Config struct {
	// Source is where files come from. It is closed with the Files, and also when they
	// cannot be opened. Required.
	Source transfer.Source
	// TargetURL is an existing bucket, whose gocloud.dev/blob driver the program has
	// imported. Required.
	TargetURL string
	// BytesPerSecond limits how fast all copies together read. 0 is no limit.
	BytesPerSecond int64

	// TestHook is for tests: it is called at named points, so that a test can
	// stop a process there.
	TestHook func(point string)
}

// Files moves files into a bucket. It is safe for concurrent use.
type Files struct {
	config Config
	source transfer.Source
	bucket *bucket
	pace   *transfer.Pace
}

// Open checks the target. ctx is for opening only. A bucket must not be part
// of its own source, or a publish would write into that.
func Open(ctx context.Context, config Config) (*Files, error) {
	f := &Files{config: config, source: config.Source, pace: transfer.NewPace(config.BytesPerSecond)}
	var err error
	if f.bucket, err = openBucket(ctx, config.TargetURL); err != nil {
		return nil, errors.Join(fmt.Errorf("open file target %q: %w", transfer.Redact(config.TargetURL), err), f.source.Close())
	}
	if from, ok := f.source.(*Source); ok {
		if err := disjoint(from.address, config.TargetURL); err != nil {
			return nil, errors.Join(fmt.Errorf("open file source %q: %w", transfer.Redact(from.address), err), f.Close())
		}
	}
	return f, nil
}

// SourceFolder is the source's folder; nil if the source is none.
func (f *Files) SourceFolder() *folder.Root { return folder.OfSource(f.source) }

// TargetFolder is nil: a bucket is none.
func (f *Files) TargetFolder() *folder.Root { return nil }

// Begin starts a run. It is called after the claim has been committed; when it
// returns, no earlier run can tell the server to write to the place any more.
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

// Unfenced says that a write of an earlier run that was on its way when Begin
// returned may still reach the place.
func (f *Files) Unfenced() bool { return true }

// Sweep removes what a claim whose process is dead has left in staging. It is no error
// that there is nothing to remove.
func (f *Files) Sweep(ctx context.Context, place transfer.Place) error {
	path, _, err := place.Paths()
	if err != nil {
		return err
	}
	if err := f.bucket.drop(ctx, transfer.StagingName(path), place.Claim); err != nil {
		return fmt.Errorf("sweep file %q: %w", path, err)
	}
	return nil
}

// ListStaging calls each for the staging of claims, if it is an hour old, and ends with
// its first error.
func (f *Files) ListStaging(ctx context.Context, each func(transfer.Staged) error) error {
	return f.bucket.listStaging(ctx, each)
}

// DropStaging deletes the staging of one claim, and returns when it is gone. A
// run that still has that claim is fenced by it. It is no error that the claim has no staging.
func (f *Files) DropStaging(ctx context.Context, s transfer.Staged) error {
	if err := s.Check(); err != nil {
		return err
	}
	return f.bucket.drop(ctx, s.Folder, s.Claim)
}

// Check returns nil, or why the source is not what it was: see [transfer.ErrElsewhere]. It says
// nothing of a bucket.
func (f *Files) Check() error { return f.source.Check() }

// Close closes source and target. All runs have to be closed before.
func (f *Files) Close() error { return errors.Join(f.source.Close(), f.bucket.Close()) }

func (f *Files) hook(point string) {
	if f.config.TestHook != nil {
		f.config.TestHook(point)
	}
}
