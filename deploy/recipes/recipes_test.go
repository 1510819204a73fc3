// Package recipes_test applies the recipes to tables like those of the applications that they
// are for, by an ordinary role, and changes rows as those applications do.
package recipes_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/view"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// A step is what the application does, and the resources that there are then, or are no
// more, in the order of their kinds and keys.
type step struct {
	name, sql  string
	come, gone []string
}

const (
	blob  = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	image = "d41d8cd98f00b204e9800998ecf8427e"
)

var gitea = []step{
	{
		"two users and their repositories", `
		INSERT INTO "user" (lower_name, name, updated_unix) VALUES ('ann', 'Ann', 1), ('bob', 'Bob', 1);
		INSERT INTO repository (owner_id, owner_name, lower_name, name) VALUES (1, 'Ann', 'app', 'App'), (2, 'Bob', 'app', 'app')`,
		[]string{"repository ann/app.git", "repository bob/app.git", "wiki ann/app.wiki.git", "wiki bob/app.wiki.git"}, nil,
	},
	{
		"an issue with an attachment, first without the issue",
		`INSERT INTO attachment (uuid, repo_id, name, size) VALUES ('c0ffee00-1111-4222-8333-444455556666', 1, 'log.txt', 70);
		UPDATE attachment SET issue_id = 1, download_count = download_count + 1`,
		[]string{"attachment c/0/c0ffee00-1111-4222-8333-444455556666"}, nil,
	},
	{
		"one LFS object in two repositories",
		`INSERT INTO lfs_meta_object (oid, size, repository_id) VALUES ('` + blob + `', 5, 1), ('` + blob + `', 5, 2)`,
		[]string{"lfs_object 9f/86/" + blob[4:], "lfs_use 1", "lfs_use 2"}, nil,
	},
	{
		"out of one of them", `DELETE FROM lfs_meta_object WHERE repository_id = 1`, nil, []string{"lfs_use 1"},
	},
	{
		"a package", `
		INSERT INTO package (owner_id, type, name, lower_name) VALUES (2, 'generic', 'P', 'p');
		INSERT INTO package_version (package_id, version) VALUES (1, '1');
		INSERT INTO package_blob (size, hash_md5, hash_sha256, created_unix) VALUES (9, '` + image + `', '` + blob + `', 1);
		INSERT INTO package_file (version_id, blob_id, name, created_unix) VALUES (1, 1, 'f', 1)`,
		[]string{"package 9f/86/" + blob, "package_use 1"}, nil,
	},
	{
		"avatars", `UPDATE "user" SET avatar = '` + image + `', use_custom_avatar = true WHERE id = 1; UPDATE repository SET avatar = '1-` + image + `' WHERE id = 1`,
		[]string{"avatar " + image, "repository_avatar 1-" + image}, nil,
	},
	{
		"a repository is handed over", `UPDATE repository SET owner_id = 2, owner_name = 'Bob', lower_name = 'app2', name = 'app2' WHERE id = 1`,
		[]string{"repository bob/app2.git", "wiki bob/app2.wiki.git"}, []string{"repository ann/app.git", "wiki ann/app.wiki.git"},
	},
	{
		"a user is renamed", `UPDATE "user" SET lower_name = 'rob', name = 'Rob' WHERE id = 2; UPDATE repository SET owner_name = 'Rob' WHERE owner_id = 2`,
		[]string{"repository rob/app.git", "repository rob/app2.git", "wiki rob/app.wiki.git", "wiki rob/app2.wiki.git"},
		[]string{"repository bob/app.git", "repository bob/app2.git", "wiki bob/app.wiki.git", "wiki bob/app2.wiki.git"},
	},
	{
		"a repository is deleted, with what belongs to it", `
		DELETE FROM attachment WHERE repo_id = 1; DELETE FROM lfs_meta_object WHERE repository_id = 2; DELETE FROM repository WHERE id = 1`,
		nil, []string{
			"attachment c/0/c0ffee00-1111-4222-8333-444455556666", "lfs_object 9f/86/" + blob[4:], "lfs_use 2",
			"repository rob/app2.git", "repository_avatar 1-" + image, "wiki rob/app2.wiki.git",
		},
	},
}

var gogs = []step{
	{
		"two users and their repositories", `
		INSERT INTO "user" (lower_name, name, updated_unix) VALUES ('ann', 'Ann', 1), ('bob', 'Bob', 1);
		INSERT INTO repository (owner_id, lower_name, name) VALUES (1, 'app', 'App'), (2, 'app', 'app')`,
		[]string{"repository ann/app.git", "repository bob/app.git", "wiki ann/app.wiki.git", "wiki bob/app.wiki.git"}, nil,
	},
	{
		"an attachment is uploaded, and then its issue made",
		`INSERT INTO attachment (uuid, name, issue_id, release_id) VALUES ('c0ffee00-1111-4222-8333-444455556666', 'log.txt', 0, 0);
		INSERT INTO issue (repo_id, name) VALUES (1, 'It fails'); UPDATE attachment SET issue_id = 1`,
		[]string{"attachment c/0/c0ffee00-1111-4222-8333-444455556666"}, nil,
	},
	{
		"one LFS object in two repositories",
		`INSERT INTO lfs_object (repo_id, oid, size, storage, created_at) VALUES (1, '` + blob + `', 5, 'local', now()), (2, '` + blob + `', 5, 'local', now())`,
		[]string{"lfs_object 9/f/" + blob, "lfs_use 1/" + blob, "lfs_use 2/" + blob}, nil,
	},
	{
		"out of one of them", `DELETE FROM lfs_object WHERE repo_id = 1`, nil, []string{"lfs_use 1/" + blob},
	},
	{
		"avatars", `UPDATE "user" SET use_custom_avatar = true, updated_unix = 2 WHERE id = 1; UPDATE repository SET use_custom_avatar = true WHERE id = 2`,
		[]string{"avatar 1", "repository_avatar 2"}, nil,
	},
	{
		"a user is renamed", `UPDATE "user" SET lower_name = 'rob', name = 'Rob' WHERE id = 2`,
		[]string{"repository rob/app.git", "wiki rob/app.wiki.git"}, []string{"repository bob/app.git", "wiki bob/app.wiki.git"},
	},
	{
		"two repositories change places", `
		UPDATE repository SET owner_id = 0 WHERE id = 1; UPDATE repository SET owner_id = 1 WHERE id = 2; UPDATE repository SET owner_id = 2 WHERE id = 1`, nil, nil,
	},
	{
		"a repository is deleted, with what belongs to it", `
		DELETE FROM attachment WHERE issue_id = 1; DELETE FROM issue WHERE repo_id = 1; DELETE FROM repository WHERE id = 1`,
		nil, []string{"attachment c/0/c0ffee00-1111-4222-8333-444455556666", "repository rob/app.git", "wiki rob/app.wiki.git"},
	},
}

func TestRecipes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, steps := range map[string][]step{"gitea": gitea, "gogs": gogs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := setup(t, name)
			follow(t, pool)
			var present []string
			for _, s := range steps {
				run(t, pool, s.sql)
				present = slices.DeleteFunc(append(present, s.come...), func(r string) bool { return slices.Contains(s.gone, r) })
				slices.Sort(present)
				wantResources(t, pool, s.name, present)
			}
			var scopes, failed int
			err := pool.QueryRow(t.Context(), `SELECT
				(SELECT count(*) FROM casq.scope_groups), (SELECT count(*) FROM casq.view_ids WHERE reason IS NOT NULL)`).Scan(&scopes, &failed)
			if err != nil || scopes != 3 || failed != 0 {
				t.Errorf("%d kinds are totalled, %d rows are not followed (%v)", scopes, failed, err)
			}
			wantSums(t, pool)
		})
	}
}

// setup returns a database of an ordinary role, with the application's tables and the recipe.
func setup(t *testing.T, name string) *pgxpool.Pool {
	t.Helper()
	db := testdb.Empty(t)
	url := db.RoleURL(t)
	role := pgx.Identifier{testdb.RoleName(t, url)}.Sanitize()
	run(t, db.Pool(t), "GRANT CREATE ON DATABASE "+db.Name+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	if err := migrations.Up(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool := testdb.Pool(t, url)
	for _, file := range []string{"testdata/" + name + ".sql", name + ".sql", name + ".sql"} { // twice, as after an upgrade
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		run(t, pool, string(text))
	}
	return pool
}

// run executes statements in one transaction.
func run(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// follow has the views followed until the test ends.
func follow(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	log := slog.New(slog.DiscardHandler)
	go func() {
		(&eventlog.Ticker{Pool: pool, Logger: log}).Run(ctx)
		ended <- nil
	}()
	go func() { ended <- view.Run(ctx, view.Config{Home: pool, Logger: log, Wait: 20 * time.Millisecond}) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// wantResources waits until the tracked resources are these.
func wantResources(t *testing.T, pool *pgxpool.Pool, after string, want []string) {
	t.Helper()
	await.Nil(t, 30*time.Second, "the resources after "+strconv.Quote(after), func() error {
		rows, err := pool.Query(t.Context(), `SELECT t.kind || ' ' || k FROM casq.tracked AS t
			CROSS JOIN LATERAL casq.resources(t.kind, NULL, 1000, NULL) AS r CROSS JOIN LATERAL unnest(r.keys) AS k`)
		if err != nil {
			return err
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		return nil
	})
}

// wantSums compares what the events add up to with what there is.
func wantSums(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var differ int
	err := pool.QueryRow(t.Context(), `
		SELECT count(*) FROM (
			SELECT kind, count(DISTINCT k) AS items FROM casq.tracked AS t
			LEFT JOIN LATERAL casq.resources(t.kind, NULL, 1000, NULL) AS r ON true LEFT JOIN LATERAL unnest(r.keys) AS k ON true GROUP BY kind
		) AS present LEFT JOIN (SELECT kind, sum(item_delta) AS items FROM casq.events GROUP BY kind) AS told USING (kind)
		WHERE present.items <> coalesce(told.items, 0)`).Scan(&differ)
	if err != nil || differ > 0 {
		t.Errorf("of %d kinds the events do not add up to what there is (%v)", differ, err)
	}
}
