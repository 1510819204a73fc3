package races

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"casq/internal/testing/testdb"
	"casq/internal/worker"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR94CreatedAnew: a repository that only lost ticks tell of is mirrored, and
// another one is created under its path on the server that was promoted.
//
// Its delete was never told, since its create is lost as well. A fetch into what
// is in place would make the refs right, and leave the objects of a repository
// that does not exist, and that somebody else may have owned, below them. The row
// is of an earlier timeline, or, where home was lost with the source, there is none;
// either tells that what is in place is another repository.
func TestR94CreatedAnew(t *testing.T) {
	t.Parallel()
	// What is in place says it: home has forgotten nothing, and raises nothing.
	const forgetful = `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN NEW.incarnation := OLD.incarnation; RETURN NEW; END';
		CREATE TRIGGER keep BEFORE UPDATE ON casq.registry FOR EACH ROW EXECUTE FUNCTION keep()`
	t.Run("twin/no incarnation", func(t *testing.T) {
		t.Parallel()
		r := newR94Anew(t, false)
		execute(t, r.home, forgetful)
		if !r.play(t, false) {
			t.Error("the lost commit is gone: the fetch into its repository did no harm")
		}
	})
	for name, test := range map[string]struct {
		here, quiet bool
	}{
		"the log tells of the create":    {},
		"only the look back finds it":    {quiet: true},
		"home itself is lost in part so": {here: true},
	} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			if newR94Anew(t, test.here).play(t, test.quiet) {
				t.Error("the commit of the repository that was lost is in the one that was created anew")
			}
		})
	}
}

// r94Anew is a site whose source fails over.
type r94Anew struct {
	*r94
	site              *site
	home              *pgxpool.Pool
	homeURL, afterURL string // of home, until the promotion and after it
}

func newR94Anew(t *testing.T, here bool) *r94Anew {
	t.Helper()
	r := &r94Anew{r94: newR94(t)}
	r.site = newSiteAt(t, r.cluster.URL(), r.primary)
	// No payload: it would tell the two apart.
	execute(t, r.primary, "SELECT casq.untrack('repositories')")
	execute(t, r.primary, `SELECT casq.track('repositories', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path')`)
	r.homeURL, r.afterURL = r.cluster.URL(), r.cluster.StandbyURL(0)
	r.home = r.primary
	if !here {
		db := testdb.New(t)
		r.homeURL, r.afterURL, r.home = db.URL, db.URL, db.Pool(t)
	}
	return r
}

// play returns whether the lost repository's commit is there in the end. When it
// is quiet the log does not tell of the second one.
func (r *r94Anew) play(t *testing.T, quiet bool) bool {
	t.Helper()
	stop := r.work(t, r.homeURL, r.cluster.URL())
	r.until(t, "the log is followed", func() bool { return lines(t, r.home, r94Rows) == "a\nb\nc\nd" })
	r.cutOff(t)
	lost := r.site.push(t, theRepository, "lost", "")
	r.tick(t, r.primary)
	r.until(t, "the lost one is mirrored", func() bool { return r.status(t, 1) == "synced" })
	if !r.site.hasObject(t, theRepository, lost) {
		t.Fatal("the lost repository was not mirrored")
	}
	stop()
	if err := r.cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	r.promote(t)
	r.site.pool = r.second
	if r.homeURL != r.afterURL {
		r.home = r.second
	}
	if err := os.RemoveAll(filepath.Join(r.site.repositories, theRepository)); err != nil {
		t.Fatal(err)
	}
	kept := r.site.push(t, theRepository, "created anew", "")
	if quiet {
		execute(t, r.second, "DELETE FROM casq.events WHERE kind = 'repository'")
	}
	r.tick(t, r.second)
	r.work(t, r.afterURL, r.cluster.StandbyURL(0))
	r.until(t, "what was lost is looked at", func() bool {
		return lines(t, r.home, "SELECT count(*)::text FROM casq.reconcile_runs WHERE reason = 'lost' AND finished_at IS NULL") == "0" &&
			r.status(t, 2) == "synced"
	})
	if !r.site.hasObject(t, theRepository, kept) {
		t.Fatal("the repository that was created anew was not mirrored")
	}
	r.site.wantRepository(t, theRepository)
	return r.site.hasObject(t, theRepository, lost)
}

// status is that of the repository's row, if that is of the source's timeline.
func (r *r94Anew) status(t *testing.T, timeline int) string {
	t.Helper()
	return lines(t, r.home, fmt.Sprintf(`SELECT s.status FROM casq.registry AS r JOIN casq.registry_status AS s USING (kind, resource_id)
		WHERE r.kind = 'repository' AND r.timeline = %d`, timeline))
}

// work runs a worker until it is stopped.
func (r *r94Anew) work(t *testing.T, homeURL, sourceURL string) (stop func()) {
	t.Helper()
	cfg := r.site.config(t, "worker")
	cfg.HomeURL, cfg.SourceURL = homeURL, sourceURL
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
