package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"casq/internal/database"
	"casq/internal/promote"
	"casq/internal/testing/sites"
	"casq/internal/worker"

	"github.com/jackc/pgx/v5/pgxpool"
)

type config struct {
	duration time.Duration
	seed     uint64
	out      io.Writer
	log      *slog.Logger
}

// rehearsal is one run.
type rehearsal struct {
	cfg           config
	dir           string
	first, second *sites.Site
	promoted      *pgxpool.Pool // the application's database, after the loss
	promotedURL   string
	app           *application
	wrong         []error
}

func rehearse(ctx context.Context, cfg config) (err error) {
	r := &rehearsal{cfg: cfg}
	if r.dir, err = os.MkdirTemp("", "casq-promote-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() {
		if r.promoted != nil {
			r.promoted.Close()
		}
		err = errors.Join(err, r.first.Stop(), r.second.Stop(), os.RemoveAll(r.dir))
	}()
	for _, step := range []func(context.Context) error{r.start, r.lose, r.promote, r.comeBack} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if len(r.wrong) > 0 {
		r.say("%v\npromote: FAILED", errors.Join(r.wrong...))
		return errWrong
	}
	r.say("promote: OK")
	return nil
}

// errWrong is returned when something is not as promised; it was printed.
var errWrong = errors.New("what is promised does not hold")

func (r *rehearsal) say(format string, args ...any) { fmt.Fprintf(r.cfg.out, format+"\n", args...) }

func (r *rehearsal) complain(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf(format, args...))
}

// folder is one of a site's.
func (r *rehearsal) folder(site, what string) string { return filepath.Join(r.dir, site, what) }

// firstConfig is the primary's worker: it takes ticks, and serves files.
func (r *rehearsal) firstConfig(homeURL, dir string, addr string) worker.Config {
	return worker.Config{
		HomeURL: homeURL, ServeAddr: addr, ServeDir: dir, ServeTokens: siteTokens,
		ClaimTTL: 3 * time.Second, CursorWait: 100 * time.Millisecond, Logger: r.cfg.log,
	}
}

// secondConfig is a second site's worker, which copies from one site's folders to another's.
func (r *rehearsal) secondConfig(homeURL, sourceURL, addr, from, to string) worker.Config {
	return worker.Config{
		HomeURL: homeURL, SourceURL: sourceURL,
		ArtifactSource: "http://" + addr + "/files", ArtifactToken: siteTokens[0].Secret, ArtifactTarget: r.folder(to, "files"),
		RepositorySource: r.folder(from, "repositories"), RepositoryTarget: r.folder(to, "repositories"),
		GitEnvironment: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
		ClaimTTL:       3 * time.Second, CursorWait: 100 * time.Millisecond, Logger: r.cfg.log,
	}
}

// promote promotes the standby, and then the second site.
func (r *rehearsal) promote(ctx context.Context) (err error) {
	standby := r.first.Standbys[0]
	if err := standby.Promote(ctx); err != nil {
		return err
	}
	r.promotedURL = standby.URL(appDatabase)
	if r.promoted, err = database.Open(ctx, r.promotedURL, database.Options{SearchPath: "public"}); err != nil {
		return err
	}
	cfg := r.secondConfig(r.second.URL, r.promotedURL, r.app.addr, "first", "second")
	dry, err := promote.Run(ctx, cfg, promote.Options{DryRun: true, Verify: promote.VerifyNone})
	if err != nil && !errors.Is(err, promote.ErrLoss) {
		return fmt.Errorf("promote, dry: %w", err)
	}
	began := time.Now()
	done, err := promote.Run(ctx, cfg, promote.Options{AcceptLoss: true, Verify: promote.VerifyAll, Wait: time.Minute})
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	r.say("promoted in %s: %d resources read, %d working repositories", time.Since(began).Round(time.Millisecond), done.Report.Verified, done.Repositories)
	for _, u := range done.Unreleased {
		r.complain("a repository was not released: %s", u)
	}
	said, lost := lostOf(dry.Report), lostOf(done.Report)
	r.say("lost, as it has said before: %d files, %d repositories; %d events were not applied then", len(said["upload"]), len(said["repository"]), dry.Report.Events)
	for _, kind := range []string{"upload", "repository"} {
		if !slices.Equal(said[kind], lost[kind]) {
			r.complain("of kind %s it has said that %q would be lost, and then that %q is", kind, said[kind], lost[kind])
		}
	}
	return r.compareLoss(ctx, lost)
}

func lostOf(report promote.Report) map[string][]string {
	lost := make(map[string][]string)
	for _, k := range report.Kinds {
		lost[k.Kind] = k.Lost()
	}
	return lost
}

// compareLoss compares what is said to be lost with what is there. A repository may have been
// copied later than its event was told of: then more is there than is known of.
func (r *rehearsal) compareLoss(ctx context.Context, lost map[string][]string) error {
	files, err := r.missingFiles(ctx, filepath.Join(r.folder("second", "files"), "upload"))
	if err != nil {
		return err
	}
	if !slices.Equal(files, lost["upload"]) {
		r.complain("files %q are lost, and %q is told", files, lost["upload"])
	}
	repositories, err := r.missingHeads(ctx, r.folder("second", "repositories"))
	if err != nil {
		return err
	}
	for _, key := range repositories {
		if !slices.Contains(lost["repository"], key) {
			r.complain("repository %s is lost, and that is not told", key)
		}
	}
	return nil
}

// comeBack has the old site be the second one, and compares.
func (r *rehearsal) comeBack(ctx context.Context) error {
	for _, what := range []string{"files", "repositories"} {
		if err := os.Rename(r.folder("first", what)+".gone", r.folder("first", what)); err != nil {
			return err
		}
	}
	// What lay at the top there lies in a folder of its own here.
	_, err := r.promoted.Exec(ctx, "UPDATE casq.kinds SET source_prefix = 'upload', prefix = '' WHERE kind = 'upload'")
	if err != nil {
		return err
	}
	stopPrimary := r.work(ctx, r.firstConfig(r.promotedURL, r.folder("second", "files"), r.app.addr))
	if err := r.app.goOn(ctx, r.promoted, r.folder("second", "files")+"/upload", r.folder("second", "repositories")); err != nil {
		return errors.Join(err, stopPrimary())
	}
	before, err := r.unchangedFiles(ctx, r.folder("first", "files"))
	if err != nil {
		return errors.Join(err, stopPrimary())
	}
	home, err := r.newHome(ctx)
	if err != nil {
		return errors.Join(err, stopPrimary())
	}
	stopBack := r.work(ctx, r.secondConfig(home, r.promotedURL, r.app.addr, "second", "first"))
	err = r.inStep(ctx, home)
	after, inodeErr := r.unchangedFiles(ctx, r.folder("first", "files"))
	if err := errors.Join(err, inodeErr, stopBack(), stopPrimary()); err != nil {
		return err
	}
	kept := 0
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if after[key] == before[key] {
			kept++
			continue
		}
		r.complain("file %s lay at the old site as it is, and was copied anew", key)
	}
	if kept == 0 {
		r.complain("no file was kept as it lay at the old site")
	}
	r.say("the old site is the second one: %d files were kept as they lay there, %d came", kept, len(after)-kept)
	return nil
}
