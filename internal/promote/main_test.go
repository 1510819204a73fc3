package promote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/internal/testing/transfertest"
	"casq/internal/worker"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// bundle is two sites: the application's tables, files and repositories, and a second site
// that nobody works for but a promotion.
type bundle struct {
	cfg                 worker.Config
	db                  *testdb.DB // the source's
	source, home        *pgxpool.Pool
	files, repositories string // of the first site
}

const tables = `
	CREATE TABLE uploads (path text PRIMARY KEY, size bigint NOT NULL, sha256 text NOT NULL);
	CREATE TABLE projects (path text PRIMARY KEY);
	SELECT casq.track('uploads', kind => 'upload', transfer => 'file', key_column => 'path', size_column => 'size', payload_columns => '{sha256}');
	SELECT casq.track('projects', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path')`

func setup(t *testing.T) *bundle {
	t.Helper()
	db := testdb.New(t)
	b := setupFrom(t, db.Pool(t))
	b.db, b.cfg.SourceURL = db, roleURL(t, db, "worker")
	return b
}

func setupFrom(t *testing.T, source *pgxpool.Pool) *bundle {
	t.Helper()
	home := testdb.New(t)
	b := &bundle{source: source, home: home.Pool(t), files: t.TempDir(), repositories: t.TempDir()}
	b.exec(t, b.source, tables)
	b.cfg = worker.Config{
		HomeURL:        roleURL(t, home, "worker"),
		ArtifactSource: b.files, ArtifactTarget: t.TempDir(), RepositorySource: b.repositories, RepositoryTarget: t.TempDir(),
		GitEnvironment: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
		ClaimTTL:       3 * time.Second, CursorWait: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return b
}

// roleURL is the database for a role that is granted this and nothing else.
func roleURL(t *testing.T, db *testdb.DB, what string) string {
	t.Helper()
	url := db.RoleURL(t)
	if _, err := db.Pool(t).Exec(t.Context(), "SELECT casq.grant_to($1::text::regrole, $2)", testdb.RoleName(t, url), what); err != nil {
		t.Fatal(err)
	}
	return url
}

func (b *bundle) exec(t *testing.T, db *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// row is one of a file, which is put there unless it is to be missing.
func (b *bundle) row(t *testing.T, key, content string, missing bool) {
	t.Helper()
	if !missing {
		transfertest.Write(t, b.files, key, content)
	}
	b.exec(t, b.source, `INSERT INTO uploads VALUES ($1, $2, $3) ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`,
		key, len(content), fmt.Sprintf("%x", sha256.Sum256([]byte(content))))
}

func (b *bundle) repository(t *testing.T, key string) (dir string) {
	t.Helper()
	dir = transfertest.NewRepository(t, b.repositories, key)
	b.exec(t, b.source, "INSERT INTO projects VALUES ($1)", key)
	return dir
}

func (b *bundle) run(t *testing.T, opts Options) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if opts.Wait == 0 {
		opts.Wait = time.Minute
	}
	if opts.Verify == "" {
		opts.Verify = VerifyAll
	}
	return Run(ctx, b.cfg, opts)
}

// marked tells whether the targets are this site's still.
func (b *bundle) marked(t *testing.T) (files, repositories bool) {
	t.Helper()
	has := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, ".casq", "target"))
		return err == nil
	}
	return has(b.cfg.ArtifactTarget), has(b.cfg.RepositoryTarget)
}

// wants compares what is lost of each kind by a report with what is.
func wants(t *testing.T, r Report, lost map[string][]string) {
	t.Helper()
	for _, k := range r.Kinds {
		if got, want := fmt.Sprint(k.Lost()), fmt.Sprint(lost[k.Kind]); got != want {
			t.Errorf("of kind %s %s would be lost, want %s: %+v", k.Kind, got, want, k)
		}
	}
}
