package races

import (
	"os"
	"path/filepath"
	"testing"
)

// naive is a registry as many have had it: one status that says what is wanted,
// what was achieved and who is at it, changed by whoever has something to say,
// and a lease that keeps two jobs from working at once.
type naive struct{ *registrySite }

func (s *registrySite) naive(t *testing.T) *naive {
	t.Helper()
	execute(t, s.pool, `CREATE TABLE naive (key text PRIMARY KEY, status text NOT NULL, leased boolean NOT NULL DEFAULT false)`)
	return &naive{s}
}

// event is the log's: the resource is to be copied.
func (n *naive) event(t *testing.T) {
	t.Helper()
	execute(t, n.pool, `INSERT INTO naive VALUES ('`+key+`', 'pending') ON CONFLICT (key) DO UPDATE SET status = 'pending'`)
}

// start is how a job begins; false: another one has the lease.
func (n *naive) start(t *testing.T) bool {
	t.Helper()
	tag, err := n.pool.Exec(t.Context(), `UPDATE naive SET status = 'started', leased = true WHERE NOT leased`)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected() == 1
}

// expire is what time does to a lease.
func (n *naive) expire(t *testing.T) {
	t.Helper()
	execute(t, n.pool, `UPDATE naive SET leased = false`)
}

// copy reads the source.
func (n *naive) copy(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.source, key))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// publish writes the place.
func (n *naive) publish(t *testing.T, content []byte) {
	t.Helper()
	file := filepath.Join(n.target, key)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// end is how a job ends.
func (n *naive) end(t *testing.T) {
	t.Helper()
	execute(t, n.pool, `UPDATE naive SET status = 'synced', leased = false`)
}

func (n *naive) status(t *testing.T) string {
	t.Helper()
	return lines(t, n.pool, `SELECT status FROM naive`)
}
