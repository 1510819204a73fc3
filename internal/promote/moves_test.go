package promote

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/internal/worker"
)

// Resources have other keys, and their moves are under way, or not yet read of: a promotion
// ends them. Where the first site is gone, so that nobody can say what else has changed, each
// is lost by its new key, and its copy is where it was.
func TestMovesUnderWay(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, gone := range map[string]bool{"the first site is there": false, "the first site is gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			was := b.moving(t, gone)
			result, err := b.run(t, Options{AcceptLoss: gone, Wait: 20 * time.Second})
			transfertest.Must(t, err)
			files := map[string]string{"a": "b", "b": "a", "moved": "plain"}
			repository, before, lost := "new/project.git", "old/project.git", map[string][]string(nil)
			if gone {
				files = map[string]string{"a": "a", "b": "b", "plain": "plain"}
				repository, before = before, repository
				lost = map[string][]string{"upload": {"a", "b", "moved"}, "repository": {"new/project.git"}}
			}
			wants(t, result.Report, lost)
			for key, of := range files {
				transfertest.WantContent(t, b.cfg.ArtifactTarget, "upload/"+key, "bytes of "+of)
			}
			transfertest.WantAbsent(t, b.cfg.RepositoryTarget, before)
			if got := transfertest.State(t, filepath.Join(b.cfg.RepositoryTarget, repository)); got != was {
				t.Errorf("the repository has\n%s\nwant\n%s", got, was)
			}
		})
	}
}

// moving has the names of two files exchanged by a worker that ends in the middle of it, and
// then those of a file and of a repository changed. It returns what the repository has.
func (b *bundle) moving(t *testing.T, gone bool) (was string) {
	t.Helper()
	b.exec(t, b.source, `SELECT casq.untrack('uploads'), casq.untrack('projects');
		ALTER TABLE uploads ADD id bigint GENERATED ALWAYS AS IDENTITY UNIQUE; ALTER TABLE projects ADD id bigint GENERATED ALWAYS AS IDENTITY UNIQUE;
		SELECT casq.track('uploads', kind => 'upload', transfer => 'file', key_column => 'path', id_column => 'id', size_column => 'size', payload_columns => '{sha256}');
		SELECT casq.track('projects', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path', id_column => 'id')`)
	for _, key := range []string{"a", "b", "plain"} {
		b.row(t, key, "bytes of "+key, false)
	}
	was = transfertest.State(t, b.repository(t, "old/project.git"))
	b.works(t, "", `SELECT count(*) = 4 FROM casq.registry WHERE synced_version = version`)
	rename := func(folder, from, to string) {
		if gone {
			transfertest.Must(t, os.RemoveAll(filepath.Join(folder, from)))
			return
		}
		transfertest.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, to)), 0o755))
		transfertest.Must(t, os.Rename(filepath.Join(folder, from), filepath.Join(folder, to)))
	}
	for _, step := range [][2]string{{"a", "x"}, {"b", "a"}, {"x", "b"}} {
		if !gone || step[0] != "x" {
			rename(b.files, step[0], step[1])
		}
		b.exec(t, b.source, "UPDATE uploads SET path = $2 WHERE path = $1", step[0], step[1])
	}
	b.works(t, "begin:made", "SELECT EXISTS (SELECT FROM casq.moves)")
	rename(b.files, "plain", "moved")
	b.exec(t, b.source, "UPDATE uploads SET path = 'moved' WHERE path = 'plain'")
	rename(b.repositories, "old/project.git", "new/project.git")
	b.exec(t, b.source, "UPDATE projects SET path = 'new/project.git'")
	return was
}

// works has a worker work until a query of home's is true, or until it has come to a point,
// where it ends.
func (b *bundle) works(t *testing.T, at, until string) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	cfg := b.cfg
	cfg.Hook = func(point string) {
		if point == at {
			end()
		}
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := worker.Run(ctx, cfg); err != nil {
			t.Error(err)
		}
	})
	group.Go(func() { (&eventlog.Ticker{Pool: b.source, Logger: cfg.Logger}).Run(ctx) })
	await.Row(t, time.Minute, b.home, until)
	if at != "" {
		<-ctx.Done()
	}
	end()
	group.Wait()
}
