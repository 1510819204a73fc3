package sqldb_test

import (
	"database/sql"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/sqldb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// site is a bench with a table of documents, with a standby, and a sql.DB
// on it.
type site struct {
	*replicatest.Bench
	replicas *replica.DB
	db       *sql.DB
}

func newSite(t *testing.T) *site {
	t.Helper()
	bench := replicatest.New(t, 1)
	bench.Exec(t, "INSERT INTO documents VALUES ('a', 'old')")
	replicas := bench.Open(t, replica.Options{})
	db := sql.OpenDB(sqldb.Connector(replicas))
	t.Cleanup(func() { _ = db.Close() })
	return &site{bench, replicas, db}
}

var must = expect.NoError
