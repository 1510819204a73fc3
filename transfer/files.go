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
	// system. Required. Buckets are not possible as targets yet.
	TargetURL string
	// BytesPerSecond limits how fast all copies together read. 0 is no limit.
	BytesPerSecond int64
	// Logger gets what is worth knowing and no error. Defaults to discarding.
	Logger *slog.Logger

	// TestHook is for tests: it is called at named points, so that a test can
	// stop a process there.
	TestHook func(point string)
	// TestUnfenced is for tests: Begin leaves the staging of other claims alone.
	// It makes the naive twin that the fence is compared with.
	TestUnfenced bool
}

// Files moves files. It is safe for concurrent use.
type Files struct {
	config FilesConfig
	source source
	target *tree
	pace   *pace
}

var errNoBucketTarget = errors.New("a target has to be a folder; buckets can only be sources so far")

// OpenFiles checks source and target. ctx is for opening only.
func OpenFiles(ctx context.Context, config FilesConfig) (*Files, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	folder, ok, err := folderOf(config.TargetURL)
	if err == nil && !ok {
		err = errNoBucketTarget
	}
	if err != nil {
		return nil, fmt.Errorf("open file target %q: %w", redact(config.TargetURL), err)
	}
	target, err := openTarget(folder)
	if err != nil {
		return nil, err
	}
	source, err := openSource(ctx, config.SourceURL, folder)
	if err != nil {
		_ = target.close()
		return nil, fmt.Errorf("open file source %q: %w", redact(config.SourceURL), err)
	}
	return &Files{config: config, source: source, target: target, pace: &pace{perSecond: config.BytesPerSecond}}, nil
}

// openTarget opens the folder and looks whether staging can be renamed into it.
func openTarget(folder string) (*tree, error) {
	target, err := openTree(folder, false)
	if err != nil {
		return nil, fmt.Errorf("open target folder: %w (it has to exist: mkdir it, or mount what it is on)", err)
	}
	staging, err := target.openDir(stagingRoot)
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

// openSource opens a folder or a bucket. target is the target's folder: one
// must not contain the other, or a publish would write into the source.
func openSource(ctx context.Context, address, target string) (source, error) {
	folder, ok, err := folderOf(address)
	if err != nil {
		return nil, err
	}
	if !ok {
		bucket, err := blob.OpenBucket(ctx, address)
		if err != nil {
			return nil, err
		}
		return &bucketSource{bucket: bucket}, nil
	}
	if err := disjoint(folder, target); err != nil {
		return nil, err
	}
	tree, err := openTree(folder, true)
	if err != nil {
		return nil, err
	}
	return &folderSource{tree: tree}, nil
}

func disjoint(source, target string) error {
	from, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	to, err := filepath.EvalSymlinks(target)
	if err != nil {
		return err
	}
	if from == to || strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/") ||
		from == "/" || to == "/" {
		return fmt.Errorf("source %s and target %s lie inside each other; use separate folders", from, to)
	}
	return nil
}

// Begin starts a run. It is called after the claim has been committed; when it
// returns, nothing that an earlier claim does can change the place any more.
func (f *Files) Begin(ctx context.Context, place Place) (Run, error) {
	path, err := place.path()
	if err != nil {
		return nil, err
	}
	stage, err := beginStage(ctx, f.target, path, place.Claim, f.config.TestUnfenced)
	if err != nil {
		return nil, fmt.Errorf("begin file %q: %w", path, err)
	}
	f.hook(pointMade)
	return &fileRun{files: f, path: path, stage: stage}, nil
}

// beginStage makes the own staging and then deletes that of others, in this
// order: the own folder keeps the shared one from being removed.
func beginStage(ctx context.Context, target *tree, path, claim string, unfenced bool) (*stage, error) {
	stage, err := makeStage(target, path, claim)
	if err != nil || unfenced {
		return stage, err
	}
	if err := stage.removeOthers(ctx); err != nil {
		return nil, errors.Join(err, stage.drop(context.WithoutCancel(ctx)))
	}
	return stage, nil
}

// Sweep removes what a claim whose process is dead has left: its staging, and
// folders that it emptied. It makes nothing, and it is no error that there is
// nothing to remove.
func (f *Files) Sweep(ctx context.Context, place Place) error {
	path, err := place.path()
	if err != nil {
		return err
	}
	if err := dropStaging(ctx, f.target, stagingName(path), place.Claim); err != nil {
		return fmt.Errorf("sweep file %q: %w", path, err)
	}
	f.target.pruneParents(path)
	return nil
}

// Close closes source and target. All runs have to be closed before.
func (f *Files) Close() error {
	return errors.Join(f.source.close(), f.target.close())
}

func (f *Files) hook(point string) {
	if f.config.TestHook != nil {
		f.config.TestHook(point)
	}
}
