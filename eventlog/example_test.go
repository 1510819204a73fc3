package eventlog_test

import (
	"context"
	"fmt"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// An application appends an event by hand, in the transaction that changes the
// data: the one is committed with the other, or neither is. A reader sees it once a
// worker has taken a tick.
func ExampleAppend() {
	testdb.Example(func(t testing.TB) {
		ctx := context.Background()
		db := testdb.New(t).Pool(t)
		if _, err := db.Exec(ctx, "SELECT casq.define_kind('document', 'file')"); err != nil {
			t.Fatal(err)
		}
		reader := eventlog.NewReader(db, 0)
		if _, err := eventlog.Tick(ctx, db, true); err != nil {
			t.Fatal(err)
		}
		position, err := reader.Start(ctx)
		if err != nil {
			t.Fatal(err)
		}

		err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			// Here the application writes its own rows, in tx.
			_, err := eventlog.Append(ctx, tx, eventlog.Event{
				Kind: "document", ResourceID: "hello.txt", Op: eventlog.Created,
				SizeDelta: 6, ItemDelta: 1, Payload: []byte(`{"sha256": "5891b5b5"}`),
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}

		if _, err := eventlog.Tick(ctx, db, true); err != nil {
			t.Fatal(err)
		}
		batch, err := reader.Next(ctx, position)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch.Events {
			fmt.Println(e.Op, e.Kind, e.ResourceID, e.SizeDelta, string(e.Payload))
		}
	})
	// Output: created document hello.txt 6 {"sha256": "5891b5b5"}
}

// The smallest use: a table of one's own that casq follows. From then on the
// application's statements append the events.
func Example_track() {
	testdb.Example(func(t testing.TB) {
		ctx := context.Background()
		db := testdb.New(t).Pool(t)
		for _, sql := range []string{
			`CREATE TABLE documents (path text PRIMARY KEY, size bigint NOT NULL, sha256 text NOT NULL)`,
			`SELECT casq.track('documents', kind => 'document', transfer => 'file', key_column => 'path',
				size_column => 'size', payload_columns => ARRAY['sha256'])`,
			`INSERT INTO documents VALUES ('hello.txt', 6, '5891b5b5')`,
			`DELETE FROM documents WHERE path = 'hello.txt'`,
		} {
			if _, err := db.Exec(ctx, sql); err != nil {
				t.Fatal(err)
			}
		}
		rows, err := db.Query(ctx, "SELECT op, resource_id FROM casq.events ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		var op, key string
		_, err = pgx.ForEachRow(rows, []any{&op, &key}, func() error {
			fmt.Println(op, key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	// Output:
	// created hello.txt
	// deleted hello.txt
}
