package builds

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"

	"casq/internal/testing/testdb"
	"casq/runner"
)

const naiveArtifacts = `
	CREATE TABLE builds (id bigint PRIMARY KEY, attempt integer NOT NULL);
	CREATE TABLE artifacts (build bigint, attempt integer, bytes text);
	CREATE TABLE counter (size bigint NOT NULL);
	INSERT INTO builds VALUES (1, 1);
	INSERT INTO counter VALUES (0)`

// TestR79ArtifactTwice: an upload commits, its answer is lost, and it is sent again; and
// it is sent by an attempt that was given to another meanwhile, or is under way then.
// There is one row, one event, and it is counted once; the old attempt is refused, and
// leaves no bytes.
func TestR79ArtifactTwice(t *testing.T) {
	t.Parallel()
	t.Run("twin/counts what comes", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		exec(t, pool, naiveArtifacts)
		for range 2 {
			exec(t, pool, "WITH added AS (INSERT INTO artifacts VALUES (1, 1, 'bytes')) UPDATE counter SET size = size + 5")
		}
		if got := one[int](t, pool, "SELECT size FROM counter"); got != 10 {
			t.Errorf("%d bytes are counted; want 10, for that is what goes wrong", got)
		}
	})
	t.Run("twin/asks for the attempt before it reads the bytes", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		exec(t, pool, naiveArtifacts)
		if one[int](t, pool, "SELECT attempt FROM builds") != 1 {
			t.Fatal("the attempt is another")
		}
		exec(t, pool, "UPDATE builds SET attempt = 2")
		exec(t, pool, "INSERT INTO artifacts VALUES (1, 2, 'new')")
		exec(t, pool, "UPDATE artifacts SET bytes = 'old' WHERE build = 1") // the build's, by its id
		if got := one[string](t, pool, "SELECT bytes FROM artifacts"); got != "old" {
			t.Errorf("there is %q; want the old attempt's, for that is what goes wrong", got)
		}
	})
	t.Run("ours/the answer was lost", func(t *testing.T) {
		t.Parallel()
		lost := true
		s := newSite(t, testdb.New(t).Pool(t), runner.Options{Hook: func(point string) {
			if point == "upload kept" && lost {
				lost = false
				panic(http.ErrAbortHandler)
			}
		}})
		s.queue(t, "build")
		b := s.pick(t)
		wantStatus(t, "the first", s.upload(t, b, "bytes"), 0)
		wantStatus(t, "the same again", s.upload(t, b, "bytes"), http.StatusCreated)
		s.wantOnce(t, 5)
	})
	t.Run("ours/two at once", func(t *testing.T) {
		t.Parallel()
		at := stopAt("upload stored", 1)
		s := newSite(t, testdb.New(t).Pool(t), runner.Options{Hook: at.hook})
		s.queue(t, "build")
		b := s.pick(t)
		first := make(chan answer, 1)
		go func() { first <- s.upload(t, b, "bytes") }()
		<-at.reached
		wantStatus(t, "the second, while the first is at work", s.upload(t, b, "bytes"), http.StatusCreated)
		close(at.goOn)
		wantStatus(t, "the first, when it goes on", <-first, http.StatusCreated)
		s.wantOnce(t, 5)
	})
	t.Run("ours/the attempt is another meanwhile", func(t *testing.T) {
		t.Parallel()
		at := stopAt("upload stored", 1)
		s := newSite(t, testdb.New(t).Pool(t), runner.Options{Hook: at.hook})
		s.queue(t, "build")
		old := s.pick(t)
		late := make(chan answer, 1)
		go func() { late <- s.upload(t, old, "old") }()
		<-at.reached
		// Its runner is taken for dead.
		exec(t, s.pool, "UPDATE casq.builds SET status = 'failed' WHERE id = $1", old.ID)
		exec(t, s.pool, "SELECT casq.retry_build($1)", old.ID)
		b := s.pick(t)
		wantStatus(t, "the new attempt", s.upload(t, b, "newer"), http.StatusCreated)
		close(at.goOn)
		wantStatus(t, "the old attempt, when it goes on", <-late, http.StatusForbidden)
		wantStatus(t, "the old attempt again", s.upload(t, old, "old"), http.StatusForbidden)
		s.wantOnce(t, 5)
		if a := s.call(t, http.MethodGet, b.path("/artifacts"), b.Token, nil, http.NoBody); a.body != "newer" {
			t.Errorf("there is %q", a.body)
		}
	})
}

// wantOnce fails unless there is one artifact of so many bytes, once everywhere.
func (s *site) wantOnce(t *testing.T, size int) {
	t.Helper()
	for sql, want := range map[string]int{
		"SELECT count(*) FROM casq.artifacts":                                               1,
		"SELECT count(*) FROM casq.artifact_leftovers":                                      0,
		"SELECT count(*) FROM casq.events WHERE kind = 'build_artifact'":                    1,
		"SELECT sum(size_delta)::integer FROM casq.events WHERE kind = 'build_artifact'":    size,
		"SELECT sum(item_delta)::integer FROM casq.events WHERE kind = 'build_artifact'":    1,
		"SELECT count(*) FROM casq.events WHERE kind = 'build_artifact' AND scope_id = '7'": 1,
	} {
		if got := one[int](t, s.pool, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	files := 0
	must(t, filepath.WalkDir(s.folder, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files++
		}
		return err
	}))
	if files != 1 {
		t.Errorf("there are %d files, want 1", files)
	}
}
