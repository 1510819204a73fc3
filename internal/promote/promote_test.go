package promote

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/testing/transfertest"
	"casq/internal/view"
	"casq/internal/worker"
)

// A site that has nothing yet is promoted all the same, when its log can be applied: what the
// dry run says is missing, and then is not.
func TestPromote(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.row(t, "a/b.txt", "hello", false)
	project := b.repository(t, "group/project.git")

	result, err := b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrLoss)
	wants(t, result.Report, map[string][]string{"upload": {"a/b.txt"}, "repository": {"group/project.git"}})
	if result.Report.Events != 2 || result.Promoted {
		t.Errorf("the dry run says %+v", result)
	}

	result, err = b.run(t, Options{})
	transfertest.Must(t, err)
	wants(t, result.Report, nil)
	if !result.Promoted || result.Repositories != 1 || len(result.Unreleased) > 0 || result.Report.Verified != 2 {
		t.Errorf("promoted: %+v", result)
	}
	transfertest.WantContent(t, b.cfg.ArtifactTarget, "upload/a/b.txt", "hello")
	inPlace := filepath.Join(b.cfg.RepositoryTarget, "group", "project.git")
	if got, want := transfertest.State(t, inPlace), transfertest.State(t, project); got != want {
		t.Errorf("source:\n%s\nhere:\n%s", want, got)
	}

	// The application works there, and it may all be asked for again.
	transfertest.Commit(t, inPlace, "refs/heads/main", "after")
	after := transfertest.State(t, inPlace)
	for _, dryRun := range []bool{true, false} {
		if result, err = b.run(t, Options{DryRun: dryRun}); err != nil || !result.Promoted {
			t.Errorf("again: %+v, %v", result, err)
		}
	}
	b.staysAsItIs(t, "group/project.git")
	if got := transfertest.State(t, inPlace); got != after {
		t.Errorf("what the application has done is gone:\n%s\nwas:\n%s", got, after)
	}
}

// staysAsItIs has a worker that was forgotten, with the settings of before, try to copy what
// comes after the promotion.
func (b *bundle) staysAsItIs(t *testing.T, key string) {
	t.Helper()
	transfertest.Commit(t, filepath.Join(b.repositories, key), "refs/heads/main", "at the old site")
	b.row(t, "late.txt", "late", false)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	cfg := b.cfg
	if err := worker.Run(ctx, cfg); err != nil {
		t.Logf("the worker that was forgotten: %v", err)
	}
	transfertest.WantAbsent(t, b.cfg.ArtifactTarget, "upload/late.txt")
}

// What is deleted is not lost, whatever else is known of it; and a site that may take no ticks
// at its source says what it cannot read yet.
func TestEventsThatAreNotApplied(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.row(t, "stays", "1", false)
	b.row(t, "fails, and is deleted", "2", true)
	_, err := b.run(t, Options{})
	transfertest.WantError(t, err, ErrLoss)
	b.exec(t, b.source, "DELETE FROM uploads WHERE path LIKE 'fails%'")
	b.row(t, "stays", "another", false)
	b.row(t, "comes and goes", "3", false)
	b.exec(t, b.source, "DELETE FROM uploads WHERE path LIKE 'comes%'")
	result, err := b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrLoss)
	wants(t, result.Report, map[string][]string{"upload": {"stays"}})
	if result.Report.Events != 4 {
		t.Errorf("%d events are not applied", result.Report.Events)
	}

	with := *b
	with.cfg.SourceURL = roleURL(t, b.db, "follower")
	result, err = with.run(t, Options{Wait: 2 * time.Second})
	transfertest.WantError(t, err, ErrLoss)
	wants(t, result.Report, map[string][]string{"upload": {"stays"}})
	b.exec(t, b.source, "SELECT casq.tick(true)")
	result, err = with.run(t, Options{})
	transfertest.Must(t, err)
	wants(t, result.Report, nil)
}

// What would be lost is named, and nothing is changed until that is accepted; then it is told
// the same.
func TestWhatWouldBeLost(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.row(t, "good", "good", false)
	b.row(t, "gone", "gone", true)
	b.row(t, "other", "other", true)
	transfertest.Write(t, b.files, "other", "OTHER")
	b.repository(t, "good.git")
	b.exec(t, b.source, "INSERT INTO projects VALUES ('gone.git')")
	lost := map[string][]string{"upload": {"gone", "other"}, "repository": {"gone.git"}}
	for range 2 {
		result, err := b.run(t, Options{})
		transfertest.WantError(t, err, ErrLoss)
		wants(t, result.Report, lost)
		if files, repositories := b.marked(t); !files || !repositories || result.Promoted {
			t.Errorf("something was done: %v, %v", files, repositories)
		}
	}
	result, err := b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrLoss)
	wants(t, result.Report, lost)

	// What was damaged is copied again, where the source has it; where it has not, it is lost.
	spoil := func() {
		transfertest.Must(t, os.WriteFile(filepath.Join(b.cfg.ArtifactTarget, "upload", "good"), []byte("evil"), 0o600))
	}
	spoil()
	result, err = b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrLoss)
	lost["upload"] = []string{"gone", "good", "other"}
	wants(t, result.Report, lost)
	result, err = b.run(t, Options{})
	transfertest.WantError(t, err, ErrLoss)
	lost["upload"] = []string{"gone", "other"}
	wants(t, result.Report, lost)
	transfertest.WantContent(t, b.cfg.ArtifactTarget, "upload/good", "good")

	spoil()
	transfertest.Must(t, errors.Join(os.Rename(b.files, b.files+".burnt"), os.Rename(b.repositories, b.repositories+".burnt")))
	result, err = b.run(t, Options{AcceptLoss: true})
	transfertest.Must(t, err)
	lost["upload"] = []string{"gone", "good", "other"}
	wants(t, result.Report, lost)
	again, err := b.run(t, Options{})
	transfertest.Must(t, err)
	wants(t, again.Report, lost)
	if files, repositories := b.marked(t); files || repositories || !result.Promoted || again.Repositories != 1 {
		t.Errorf("the targets are still marked: %v, %v; %+v", files, repositories, again)
	}
}

// A promotion that ends in the middle goes on when it is asked for again.
func TestAPromotionGoesOn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.row(t, "a", "a", false)
	for _, key := range []string{"1.git", "2.git", "3.git"} {
		b.repository(t, key)
	}
	for _, at := range []string{"promote:before-retire", "promote:retired", "promote:release"} {
		ctx, die := context.WithCancel(t.Context())
		var times atomic.Int64
		b.cfg.Hook = func(point string) {
			// Of the repositories the second one.
			if point == at && times.Add(1) >= 1 && (at != "promote:release" || times.Load() == 2) {
				die()
			}
		}
		if _, err := Run(ctx, b.cfg, Options{Wait: time.Minute, Verify: VerifyChanged, Since: time.Hour}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", at, err)
		}
		b.cfg.Hook = nil
	}
	result, err := b.run(t, Options{Verify: VerifyNone})
	transfertest.Must(t, err)
	if !result.Promoted || result.Repositories != 3 || len(result.Unreleased) > 0 || !result.Report.Ready() {
		t.Errorf("in the end: %+v", result)
	}
}

func TestWhoMayNotBePromoted(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.row(t, "a", "a", false)
	first := *b
	first.cfg.SourceURL = ""
	_, err := first.run(t, Options{})
	transfertest.WantError(t, err, ErrNotSecond)
	first.cfg.SourceURL = first.cfg.HomeURL + "&application_name=other"
	_, err = first.run(t, Options{})
	transfertest.WantError(t, err, ErrNotSecond)
	none := *b
	none.cfg.ArtifactTarget, none.cfg.RepositoryTarget = "", ""
	_, err = none.run(t, Options{})
	transfertest.WantError(t, err, ErrNotSecond)

	// One at a time.
	conn, err := b.home.Acquire(t.Context())
	transfertest.Must(t, err)
	var got bool
	transfertest.Must(t, conn.QueryRow(t.Context(), promoteSQL.Lock).Scan(&got))
	_, err = b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrBusy)
	// One that was broken off a moment ago is not another one.
	b.cfg.Hook = func(point string) {
		if session := conn.Conn(); point == "promote:busy" && !session.IsClosed() {
			transfertest.Must(t, session.Close(t.Context()))
		}
	}
	_, err = b.run(t, Options{DryRun: true})
	b.cfg.Hook = nil
	conn.Release()
	transfertest.WantError(t, err, ErrLoss) // nothing was copied

	// Not while others work for it.
	b.exec(t, b.home, "INSERT INTO casq.workers (id, host, pid, version, schema_version, roles) VALUES (gen_random_uuid(), 'elsewhere', 1, 'x', 1, '{}')")
	_, err = b.run(t, Options{})
	transfertest.WantError(t, err, ErrWorkers)
	if files, repositories := b.marked(t); !files || !repositories {
		t.Errorf("the targets are not marked any more: %v, %v", files, repositories)
	}
	b.exec(t, b.home, "DELETE FROM casq.workers")
	_, err = b.run(t, Options{})
	transfertest.Must(t, err)
}

// A folder that was a promoted site's once is another site's target later: what was found then
// is not taken for what is now.
func TestATargetOfAnotherSiteBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.row(t, "a", "a", false)
	for _, dir := range []string{b.cfg.ArtifactTarget, b.cfg.RepositoryTarget} {
		transfertest.Write(t, dir, ".casq/retired", `{"home": "another", "report": {"kinds": []}}`)
	}
	result, err := b.run(t, Options{DryRun: true, Verify: VerifyNone})
	transfertest.WantError(t, err, ErrLoss)
	wants(t, result.Report, map[string][]string{"upload": {"a"}})
}

// While the application's database is a standby there is an end of its log only for now: the
// site may be looked at, and copies, and is not promoted.
func TestASourceThatIsAStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	pool, err := database.Open(t.Context(), cluster.URL(), database.Options{SearchPath: "public"})
	transfertest.Must(t, err)
	t.Cleanup(pool.Close)
	b := setupFrom(t, pool)
	b.cfg.SourceURL = cluster.StandbyURL(0)
	b.row(t, "a", "a", false)
	b.exec(t, b.source, "SELECT casq.tick(true)")
	transfertest.Must(t, cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary))
	result, err := b.run(t, Options{})
	transfertest.WantError(t, err, ErrStandby)
	wants(t, result.Report, nil)
	if files, repositories := b.marked(t); !result.Report.Standby || !files || !repositories {
		t.Errorf("something was done: %v, %v; %+v", files, repositories, result)
	}
	transfertest.Must(t, cluster.Standbys[0].Promote(t.Context()))
	_, err = b.run(t, Options{})
	transfertest.Must(t, err)
}

// A part of a kind is not all of it, and a site says so.
func TestAPartOfAKind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, b.home, "INSERT INTO casq.kinds (kind, transfer, queue, prefix, source_prefix) VALUES ('upload', 'file', 'upload', 'upload', '')")
	b.exec(t, b.home, "INSERT INTO casq.selections (kind, scopes) VALUES ('upload', '{1}')")
	result, err := b.run(t, Options{DryRun: true, Verify: VerifyNone})
	transfertest.WantError(t, err, ErrLoss)
	if len(result.Report.Partial) != 1 {
		t.Errorf("the report is %+v", result.Report)
	}
}

// What a tracked view's sources have noted is in no log until a worker at the source's
// database has evaluated it.
func TestTrackedViewsThatAreBehind(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, b.source, `CREATE VIEW seen AS SELECT path AS id, path FROM uploads;
		SELECT casq.track_view('seen', kind => 'seen', transfer => 'none', id_column => 'id', key_column => 'path', sources => '{"uploads": "SELECT path FROM changed"}')`)
	b.row(t, "a", "1", false)
	result, err := b.run(t, Options{DryRun: true})
	transfertest.WantError(t, err, ErrLoss)
	if len(result.Report.Views) != 1 || result.Report.Views[0].Changes != 1 || !strings.Contains(result.Report.Views[0].Why, "is not filled yet") {
		t.Errorf("behind are %+v", result.Report.Views)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- view.Run(ctx, view.Config{Home: b.source, Logger: slog.New(slog.DiscardHandler), Wait: 20 * time.Millisecond})
	}()
	result, err = b.run(t, Options{Wait: time.Minute})
	cancel()
	transfertest.Must(t, errors.Join(err, <-ended))
	if len(result.Report.Views) != 0 {
		t.Errorf("behind are %+v", result.Report.Views)
	}
	var seen int
	if err := b.home.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry WHERE kind = 'seen'").Scan(&seen); err != nil || seen != 1 {
		t.Errorf("%d rows of the view have come along (%v)", seen, err)
	}
}
