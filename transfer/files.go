package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"golang.org/x/sys/unix"
)

// FilesConfig says where files come from and go to.
type FilesConfig struct {
	// SourceURL is a folder (a path or a file:// URL), or any bucket URL whose
	// gocloud.dev/blob driver the program has imported. Required.
	SourceURL string
	// TargetURL is an existing folder (a path or a file:// URL) on one file
	// system, or an existing bucket, likewise. Required. What a bucket cannot promise
	// is in DESIGN.md.
	TargetURL string
	// BytesPerSecond limits how fast all copies together read. 0 is no limit.
	BytesPerSecond int64
	// Logger gets what is worth knowing and no error. Defaults to discarding.
	Logger *slog.Logger

	// TestHook is for tests: it is called at named points, so that a test can
	// stop a process there.
	TestHook func(point string)
}

// Files moves files. It is safe for concurrent use.
type Files struct {
	config FilesConfig
	source source
	target *root   // nil: the target is a bucket
	bucket *bucket // nil: the target is a folder
	pace   *pace
}

// OpenFiles checks source and target. ctx is for opening only.
func OpenFiles(ctx context.Context, config FilesConfig) (*Files, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	f := &Files{config: config, pace: &pace{perSecond: config.BytesPerSecond}}
	if err := f.openTarget(ctx); err != nil {
		return nil, fmt.Errorf("open file target %q: %w", redact(config.TargetURL), err)
	}
	var err error
	if f.source, err = f.openSource(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open file source %q: %w", redact(config.SourceURL), err), f.closeTarget())
	}
	return f, nil
}

func (f *Files) openTarget(ctx context.Context) error {
	folder, ok, err := folderOf(f.config.TargetURL)
	switch {
	case err != nil:
		return err
	case ok:
		f.target, err = openTarget(folder, f.config.Logger)
	default:
		f.bucket, err = openBucket(ctx, f.config.TargetURL)
	}
	return err
}

func (f *Files) closeTarget() error {
	if f.bucket != nil {
		return f.bucket.Close()
	}
	return f.target.close()
}

// openTarget opens the folder and checks whether staging can be renamed into it.
func openTarget(folder string, log *slog.Logger) (*root, error) {
	target, err := openRoot(folder, false, log)
	if err != nil {
		return nil, fmt.Errorf("open target folder: %w (it has to exist: mkdir it, or mount what it is on)", err)
	}
	staging, err := target.now.openDir(stagingRoot)
	switch {
	case err == nil:
		_ = staging.Close()
	case !errors.Is(err, unix.ENOENT):
		_ = target.close()
		return nil, fmt.Errorf("open staging in target: %w", err)
	}
	return target, nil
}

// folderOf returns the folder that address names; false: it is no folder but a
// URL of something else.
func folderOf(address string) (string, bool, error) {
	if address == "" {
		return "", false, errors.New("no folder and no URL given")
	}
	scheme, _, isURL := strings.Cut(address, "://")
	if isURL && scheme != "file" {
		return "", false, nil
	}
	if isURL {
		parsed, err := url.Parse(address)
		if err != nil {
			return "", false, err
		}
		if parsed.Host != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			return "", false, errors.New("a file URL is file:///folder, with three slashes and no parameters")
		}
		address = parsed.Path
	}
	folder, err := filepath.Abs(address)
	return folder, true, err
}

// openSource opens a folder or a bucket. Source and target must not contain one
// another, or a publish would write into the source.
func (f *Files) openSource(ctx context.Context) (source, error) {
	folder, ok, err := folderOf(f.config.SourceURL)
	if err != nil {
		return nil, err
	}
	if ok {
		return f.openSourceFolder(folder)
	}
	if f.bucket != nil {
		if err := disjointBuckets(f.config.SourceURL, f.config.TargetURL); err != nil {
			return nil, err
		}
	}
	opened, err := blob.OpenBucket(ctx, f.config.SourceURL)
	if err != nil {
		return nil, redacted{err}
	}
	return &bucketSource{bucket: opened}, nil
}

func (f *Files) openSourceFolder(folder string) (source, error) {
	opened, err := openRoot(folder, true, f.config.Logger)
	if err != nil {
		return nil, err
	}
	if f.target != nil {
		if err := disjoint(opened.now, f.target.now); err != nil {
			return nil, errors.Join(fmt.Errorf("source and target: %w", err), opened.close())
		}
	}
	return &folderSource{root: opened}, nil
}

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
	if f.bucket != nil {
		return f.beginBucket(ctx, path, from, place)
	}
	stage, err := beginStage(ctx, f.target, path, place.Claim)
	if err != nil {
		return nil, err
	}
	return &fileRun{files: f, path: path, from: from, stage: stage, mayAdopt: place.Adopt, limit: limit(place.MaxSize)}, nil
}

// Unfenced tells whether the target is a bucket: a write of an earlier run that was
// on its way when Begin returned may still reach the place. See DESIGN.md.
func (f *Files) Unfenced() bool { return f.bucket != nil }

// beginStage makes the own staging and then deletes that of others, in this
// order: the own folder keeps the shared one from being removed.
func beginStage(ctx context.Context, target *root, path, claim string) (*stage, error) {
	tree, err := target.enter()
	if err != nil {
		return nil, err
	}
	stage, err := makeStage(tree, path, claim)
	if err != nil {
		tree.leave()
		return nil, err
	}
	if err := stage.removeOthers(ctx); err != nil {
		return nil, errors.Join(err, stage.drop(context.WithoutCancel(ctx), false))
	}
	return stage, nil
}

// Sweep removes what a claim whose process is dead has left: its staging, and
// folders that it emptied. It makes nothing, and it is no error that there is
// nothing to remove.
func (f *Files) Sweep(ctx context.Context, place Place) error {
	path, _, err := place.paths()
	if err != nil {
		return err
	}
	if err := f.DropStaging(ctx, Staged{stagingName(path), place.Claim}); err != nil {
		return fmt.Errorf("sweep file %q: %w", path, err)
	}
	if f.target == nil {
		return nil
	}
	return f.target.prune(path)
}

// Check returns nil, or why source or target are not what they were: see
// [ErrElsewhere]. It is quick, and says nothing of a bucket.
func (f *Files) Check() error {
	err := f.source.check()
	if f.target != nil {
		err = errors.Join(err, f.target.check())
	}
	return err
}

// Close closes source and target. All runs have to be closed before.
func (f *Files) Close() error {
	return errors.Join(f.source.close(), f.closeTarget())
}

func (f *Files) hook(point string) {
	if f.config.TestHook != nil {
		f.config.TestHook(point)
	}
}
