package sqldb_test

import (
	"database/sql"
	"fmt"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/sqldb"
)

// One line gives a program on database/sql its standbys. What the session wrote, it
// reads, from wherever that is.
func ExampleConnector() {
	testdb.Example(func(t testing.TB) {
		bench := replicatest.New(t, 1)
		replicas := bench.Open(t, replica.Options{})
		db := sql.OpenDB(sqldb.Connector(replicas))
		defer db.Close()

		ctx := replica.NewContext(t.Context(), replicas.Session())
		_, err := db.ExecContext(ctx, "INSERT INTO documents VALUES ('a', 'hello')")
		if err != nil {
			fmt.Println(err)
		}
		var body string
		if err := db.QueryRowContext(ctx, "SELECT body FROM documents WHERE id = $1", "a").Scan(&body); err != nil {
			fmt.Println(err)
		}
		fmt.Println(body)
	})
	// Output: hello
}
