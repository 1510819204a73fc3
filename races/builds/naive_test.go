package builds

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// nextSQL is a queue as it is commonly written, and headSQL one without a lock.
const (
	nextSQL = "SELECT id FROM casq.builds WHERE status = 'pending' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
	headSQL = "SELECT id FROM casq.builds WHERE status = 'pending' ORDER BY id LIMIT 1"
	// waitsSQL is a look at whatever host.
	waitsSQL = "SELECT EXISTS (SELECT FROM casq.builds WHERE status = 'pending')"
)

// naive is the published queue: a random key in a store changes with each build, a runner
// that has the newest key is told that there is nothing, and any other is told the newest
// key after a look at some host.
type naive struct {
	key  string
	host *pgxpool.Pool
}

// request is what a runner gets that was told a key: a build, or a key.
func (n *naive) request(t testing.TB, told string) (build bool, key string) {
	t.Helper()
	if told == n.key {
		return false, n.key
	}
	if one[bool](t, n.host, waitsSQL) {
		return true, n.key
	}
	return false, n.key
}
