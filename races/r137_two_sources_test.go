package races

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/testdb"
	"casq/internal/view"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	r137Forge = `
		CREATE TABLE owners (id bigint PRIMARY KEY, name text NOT NULL);
		CREATE TABLE repositories (id bigint PRIMARY KEY, owner_id bigint NOT NULL, name text NOT NULL);
		CREATE VIEW paths AS SELECT r.id, o.name || '/' || r.name AS path FROM repositories AS r JOIN owners AS o ON o.id = r.owner_id;
		INSERT INTO owners VALUES (1, 'ann'), (2, 'bob');
		INSERT INTO repositories VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'x')`

	r137Track = `SELECT casq.track_view('paths', kind => 'repository', transfer => 'none', id_column => 'id', key_column => 'path',
		sources => '{"repositories": "SELECT id FROM changed", "owners": "SELECT r.id FROM changed AS o JOIN repositories AS r ON r.owner_id = o.id"}')`

	// The twins: the image is changed in the trigger, or what is to be evaluated is found there.
	r137InTrigger = `
		CREATE TABLE image AS SELECT * FROM paths;
		CREATE FUNCTION evaluate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			UPDATE image AS i SET path = p.path FROM paths AS p
			WHERE p.id = i.id AND p.id IN (SELECT r.id FROM repositories AS r WHERE CASE TG_TABLE_NAME WHEN 'owners' THEN r.owner_id ELSE r.id END = NEW.id);
			RETURN NULL;
		END $$`
	r137FoundInTrigger = `
		CREATE TABLE image AS SELECT * FROM paths;
		CREATE TABLE found (n bigint GENERATED ALWAYS AS IDENTITY, id bigint);
		CREATE FUNCTION evaluate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO found (id) SELECT r.id FROM repositories AS r WHERE CASE TG_TABLE_NAME WHEN 'owners' THEN r.owner_id ELSE r.id END = NEW.id;
			RETURN NULL;
		END $$`
	r137Triggers = `
		CREATE TRIGGER evaluate AFTER UPDATE ON owners FOR EACH ROW EXECUTE FUNCTION evaluate();
		CREATE TRIGGER evaluate AFTER UPDATE ON repositories FOR EACH ROW EXECUTE FUNCTION evaluate()`
	r137Read = `WITH gone AS (DELETE FROM found RETURNING id)
		UPDATE image AS i SET path = p.path FROM paths AS p WHERE p.id = i.id AND p.id IN (SELECT g.id FROM gone AS g)`
)

// TestR137TwoSources: one transaction renames an owner, another hands a repository over to
// him; neither sees the other, and they commit in either order, while the consumer reads what is
// committed. The image, and what the newest events tell, are those of the view after both.
// Neither waits: also not for a consumer that is stopped in the middle of a batch.
//
// A twin that evaluates the view in the trigger has the old name with the new owner, in
// either order. One that finds in the trigger what is to be evaluated, and evaluates it later,
// misses the repository when the rename commits last: its trigger did not see that it is his.
func TestR137TwoSources(t *testing.T) {
	t.Parallel()
	orders := map[string][2]int{"renamed first": {0, 1}, "handed over first": {1, 0}}
	for name, order := range orders {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t).Pool(t)
			execute(t, pool, r137Forge)
			execute(t, pool, r137Track)
			followViews(t, pool, func(string) {})
			r137Play(t, pool, order, func() {
				await.Row(t, time.Minute, pool, `SELECT casq.tick(true) IS NOT NULL AND (SELECT lag_events = 0 FROM casq.cursor_status WHERE name = 'views')`)
			})
			r137Same(t, pool, "casq.image_repository", true)
			await.Row(t, time.Minute, pool, `SELECT NOT EXISTS (SELECT FROM paths AS p FULL JOIN (
				SELECT DISTINCT ON (resource_id) resource_id FROM (SELECT * FROM casq.events ORDER BY id DESC) AS e WHERE op <> 'deleted'
				AND NOT EXISTS (SELECT FROM casq.events AS l WHERE l.resource_id = e.resource_id AND l.id > e.id)) AS n ON n.resource_id = p.path
				WHERE n.resource_id IS NULL OR p.path IS NULL)`)
		})
		t.Run("twin/evaluated in the trigger/"+name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t).Pool(t)
			execute(t, pool, r137Forge+";"+r137InTrigger+";"+r137Triggers)
			r137Play(t, pool, order, func() {})
			r137Same(t, pool, "image", false)
		})
	}
	t.Run("twin/found in the trigger", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		execute(t, pool, r137Forge+";"+r137FoundInTrigger+";"+r137Triggers)
		r137Play(t, pool, orders["handed over first"], func() { execute(t, pool, r137Read) })
		r137Same(t, pool, "image", false)
	})
	t.Run("ours/nobody waits", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		execute(t, pool, r137Forge)
		execute(t, pool, r137Track)
		stopped, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		followViews(t, pool, func(point string) {
			if point == "batch:applied" {
				once.Do(func() { close(stopped); <-goOn })
			}
		})
		execute(t, pool, `UPDATE owners SET name = 'first' WHERE id = 1`)
		<-stopped
		for i := range 20 {
			execute(t, pool, fmt.Sprintf(`SET lock_timeout = '1ms'; UPDATE owners SET name = 'n%d' WHERE id = 2; UPDATE repositories SET owner_id = 3 - owner_id; RESET lock_timeout`, i))
		}
		close(goOn)
		r137Same(t, pool, "casq.image_repository", true)
	})
}

// followViews takes ticks and follows the tracked views until the test ends.
func followViews(t *testing.T, pool *pgxpool.Pool, hook func(point string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	ticker := eventlog.Ticker{Pool: pool, Logger: raceLog(t)}
	group.Go(func() { ticker.Run(ctx) })
	group.Go(func() {
		if err := view.Run(ctx, view.Config{Home: pool, Logger: raceLog(t), Hook: hook}); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	await.Row(t, time.Minute, pool, "SELECT bool_and(filled_at IS NOT NULL) FROM casq.view_status")
}

// r137Play has both transactions written before either commits; read reads what is committed after each.
func r137Play(t *testing.T, pool *pgxpool.Pool, order [2]int, read func()) {
	t.Helper()
	var commits [2]func() error
	for i, statement := range []string{`UPDATE owners SET name = 'rob' WHERE id = 2`, `UPDATE repositories SET owner_id = 2 WHERE id = 2`} {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		commits[i] = func() error { return tx.Commit(t.Context()) }
	}
	for _, i := range order {
		if err := commits[i](); err != nil {
			t.Fatal(err)
		}
		read()
	}
}

func r137Same(t *testing.T, pool *pgxpool.Pool, image string, want bool) {
	t.Helper()
	same := fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM paths AS p FULL JOIN %s AS i ON i.id = p.id WHERE i.path IS DISTINCT FROM p.path COLLATE "C")`, image)
	if want {
		await.Row(t, time.Minute, pool, same)
		return
	}
	var got bool
	if err := pool.QueryRow(t.Context(), same).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got {
		t.Error("the twin's image is the view: it should have gone wrong")
	}
}
