package builds

import (
	"net/http"
	"testing"

	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR69JobToken: a build is picked at one process, and the runner's first calls with the
// job's token reach another, whose standbys have not replayed the pick: a sign of life, a
// piece of its log, the download of what it needs, an artifact, the end. A runner that is
// told 403 or 404 drops the build.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR69JobToken(t *testing.T) {
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	standby := testdb.Pool(t, cluster.StandbyURL(0))
	s := newSite(t, testdb.Pool(t, cluster.URL()), runner.Options{})
	other := s.start(t, runner.Options{Standbys: []*pgxpool.Pool{standby}})
	must(t, cluster.Standbys[0].PauseReplay(t.Context()))
	s.queue(t, "first", "second")
	b := s.pick(t)

	t.Run("twin/asks a standby", func(t *testing.T) {
		if n := one[int](t, standby, "SELECT count(*) FROM casq.builds WHERE token_hash = sha256(convert_to($1, 'UTF8'))", b.Token); n != 0 {
			t.Errorf("the standby has %d builds of the token; want none, for then it is refused", n)
		}
	})
	t.Run("twin/asks a standby whether there is such a build", func(t *testing.T) {
		if one[bool](t, standby, "SELECT EXISTS (SELECT FROM casq.builds WHERE id = $1)", b.ID) {
			t.Error("the standby has the build; want none, for then it is 404")
		}
	})
	t.Run("ours", func(t *testing.T) {
		wantStatus(t, "a sign of life", other.put(t, b, "running"), http.StatusOK)
		wantStatus(t, "a piece of the log", other.patch(t, b, 0, "one\n"), http.StatusAccepted)
		wantStatus(t, "an artifact", other.upload(t, b, "bytes"), http.StatusCreated)
		wantStatus(t, "the end", other.put(t, b, "success"), http.StatusOK)
		next := s.pick(t)
		if len(next.Dependencies) != 1 {
			t.Fatalf("it needs %v", next.Dependencies)
		}
		needed := next.Dependencies[0]
		download := other.call(t, http.MethodGet, needed.path("/artifacts"), needed.Token, nil, http.NoBody)
		wantStatus(t, "the download of what it needs", download, http.StatusOK)
		if download.body != "bytes" {
			t.Errorf("it gets %q", download.body)
		}
		stranger := build{ID: b.ID, Token: "glcbt-stranger"}
		wantStatus(t, "a stranger's token", other.patch(t, stranger, 0, "x"), http.StatusForbidden)
		nobody := build{ID: 999_999, Token: b.Token}
		wantStatus(t, "another build", other.patch(t, nobody, 0, "x"), http.StatusNotFound)
	})
}
