package eventlog_test

import (
	"fmt"
	"testing"
)

// afterRow makes an AFTER ROW trigger of the user's, which runs before ours:
// statement triggers fire last.
func afterRow(event, body string) string {
	return fmt.Sprintf(`CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF pg_trigger_depth() = 1 THEN %s; END IF; RETURN NULL; END $$;
		CREATE TRIGGER meddle AFTER %s ON artifacts FOR EACH ROW EXECUTE FUNCTION meddle()`, body, event)
}

func TestTrackWithTriggersOfTheUsers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, event, body, sql string
		want                   []string
	}{
		{"an insert is updated", "INSERT", `UPDATE artifacts SET size = 2, sha = 'new' WHERE path = NEW.path`,
			`INSERT INTO artifacts VALUES ('n', 1, 1, 'old')`, []string{
				`updated n 1 +1 +0 {"sha": "new", "size": 2}`, `created n 1 +1 +1 {"sha": "new", "size": 2}`}},
		{"an insert is moved", "INSERT", `UPDATE artifacts SET project_id = 2 WHERE path = NEW.path`,
			`INSERT INTO artifacts VALUES ('n', 1, 1, 's')`, []string{
				`updated n 1 -1 -1 {"sha": "s", "size": 1}`, `updated n 2 +1 +1 {"sha": "s", "size": 1}`,
				`created n 1 +1 +1 {"sha": "s", "size": 1}`, `updated n 2 +0 +0 {"sha": "s", "size": 1}`}},
		{"an update is moved", "UPDATE", `UPDATE artifacts SET project_id = 2 WHERE path = NEW.path`,
			`UPDATE artifacts SET sha = 'new' WHERE path = 'a'`, []string{
				`updated a 1 -10 -1 {"sha": "new", "size": 10}`, `updated a 2 +10 +1 {"sha": "new", "size": 10}`,
				`updated a 1 +0 +0 {"sha": "new", "size": 10}`, `updated a 2 +0 +0 {"sha": "new", "size": 10}`}},
		{"an insert is deleted", "INSERT", `DELETE FROM artifacts WHERE path = NEW.path`,
			`INSERT INTO artifacts VALUES ('n', 1, 1, 's')`, []string{`deleted n 1 -1 -1 {}`, `deleted n 1 +1 +1 {}`}},
		{"an update is updated", "UPDATE", `UPDATE artifacts SET sha = 'new' WHERE path = NEW.path`,
			`UPDATE artifacts SET sha = 'old' WHERE path = 'a'`, []string{
				`updated a 1 +0 +0 {"sha": "new", "size": 10}`, `updated a 1 +0 +0 {"sha": "new", "size": 10}`}},
		{"an update is deleted", "UPDATE", `DELETE FROM artifacts WHERE path = NEW.path`,
			`UPDATE artifacts SET size = 1, project_id = 2 WHERE path = 'a'`, []string{
				`deleted a 2 -1 -1 {}`, `deleted a 1 -10 -1 {}`, `deleted a 2 +1 +1 {}`}},
		{"a delete is inserted again", "DELETE", `INSERT INTO artifacts VALUES (OLD.path, 2, 5, 'again')`,
			`DELETE FROM artifacts WHERE path = 'a'`, []string{
				`created a 2 +5 +1 {"sha": "again", "size": 5}`, `deleted a 1 -10 -1 {}`,
				`created a 2 +0 +0 {"sha": "again", "size": 5}`}},
		{"a changed key is inserted again", "UPDATE", `INSERT INTO artifacts VALUES (OLD.path, 2, 5, 'again')`,
			`UPDATE artifacts SET path = 'b' WHERE path = 'a'`, []string{
				`created a 2 +5 +1 {"sha": "again", "size": 5}`, `deleted a 1 -10 -1 {}`,
				`created a 2 +0 +0 {"sha": "again", "size": 5}`, `created b 1 +10 +1 {"sha": "s", "size": 10}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, table := range []string{plainTable, partitionedTable} {
				b := setupTrack(t, table, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 10, 's')`)
				b.events(t)
				b.exec(t, afterRow(c.event, c.body))
				b.exec(t, c.sql)
				b.wantEvents(t, c.want...)
				b.wantExact(t)
			}
		})
	}
}

// A snapshot that is older than a delete still shows the deleted row beside the
// one that was inserted under the same key.
func TestTrackUnderRepeatableRead(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 10, 'old')`)
	ctx := t.Context()
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if err := run(ctx, tx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM artifacts`); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `DELETE FROM artifacts`)
	b.events(t)
	if err := run(ctx, tx, `INSERT INTO artifacts VALUES ('a', 2, 1, 'new')`); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM artifacts WHERE path = 'a'`).Scan(&rows); err != nil || rows != 2 {
		t.Fatalf("the old snapshot shows %d rows, %v; want the trap of 2", rows, err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, `created a 2 +1 +1 {"sha": "new", "size": 1}`)
	b.wantExact(t)
}
