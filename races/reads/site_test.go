package reads

import (
	"context"
	"fmt"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// replicaSite is a bench with two standbys, and a bare pool on each.
type replicaSite struct {
	*replicatest.Bench
	standby [2]*pgxpool.Pool
}

func newReplicaSite(t *testing.T, options ...testdb.ClusterOption) *replicaSite {
	t.Helper()
	r := &replicaSite{Bench: replicatest.New(t, 2, options...)}
	for i := range r.standby {
		r.standby[i] = testdb.Pool(t, r.Cluster.StandbyURL(i))
	}
	return r
}

const upsert = "INSERT INTO documents VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body"

// lsn is a server's position as a naive client compares it.
type lsn int64

// naiveWrite writes a document, and returns the position after the commit.
func (r *replicaSite) naiveWrite(t *testing.T, id, body string) lsn {
	t.Helper()
	r.Exec(t, upsert, id, body)
	return r.position(t, "pg_current_wal_insert_lsn()")
}

func (r *replicaSite) position(t *testing.T, function string) (at lsn) {
	t.Helper()
	must(t, r.Primary.QueryRow(t.Context(), "SELECT pg_wal_lsn_diff("+function+", '0/0')::bigint").Scan(&at))
	return at
}

// replayed is where a standby is.
func (r *replicaSite) replayed(t *testing.T, i int) lsn {
	t.Helper()
	return replayedOn(t, r.standby[i])
}

func replayedOn(t *testing.T, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (at lsn) {
	t.Helper()
	must(t, db.QueryRow(t.Context(), `SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
		ELSE pg_current_wal_insert_lsn() END, '0/0')::bigint`).Scan(&at))
	return at
}

// body reads a document; "" is one that is not there.
func body(t *testing.T, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, id string,
) (text string) {
	t.Helper()
	must(t, db.QueryRow(t.Context(), "SELECT coalesce((SELECT d.body FROM documents AS d WHERE d.id = $1), '')", id).Scan(&text))
	return text
}

// open returns a DB on standbys, by default both, that are in use. It probes often,
// so that a test does not wait for it.
func (r *replicaSite) open(t *testing.T, options replica.Options, standbys ...int) *replica.DB {
	t.Helper()
	if options.Standbys == nil {
		options.Standbys = replica.URLs(r.URLs(standbys...)...)
	}
	options.ProbeEvery = 20 * time.Millisecond
	return r.Open(t, options)
}

// newPositions returns a function that opens stores on one Redis.
func newPositions(t *testing.T) (client redis.UniversalClient, open func() *redisstore.Store) {
	t.Helper()
	client = testredis.Client(t, testredis.Start(t))
	return client, func() *redisstore.Store { return redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second}) }
}

func document(id string) replica.Object { return replica.Object{Namespace: "document", ID: id} }

// write writes a document through a session.
func sessionWrite(t *testing.T, s *replica.Session, id, text string) {
	t.Helper()
	_, err := s.Write().Exec(t.Context(), upsert, id, text)
	must(t, err)
}

// wantBody reads a document through a session, and returns the choice.
func wantBody(t *testing.T, s *replica.Session, id, want string) replica.Choice {
	t.Helper()
	if got := body(t, s.Read(), id); got != want {
		t.Errorf("%s is %q, want %q:\n%s", id, got, want, s.Explain())
	}
	choices := s.Choices()
	return choices[len(choices)-1]
}

// wantPrimary says that a read must have been served by the primary.
func wantPrimary(t *testing.T, choice replica.Choice) {
	t.Helper()
	if choice.Reason.Standby() {
		t.Errorf("a standby served: %s", choice)
	}
}

// standbyAgain reads with new sessions until a standby serves, and always the right
// body.
func standbyAgain(t *testing.T, open func() *replica.Session, id, want string) {
	t.Helper()
	replicatest.Until(t, "a standby serves", func() error {
		if choice := wantBody(t, open(), id, want); !choice.Reason.Standby() {
			return fmt.Errorf("chose %s", choice)
		}
		return nil
	})
}

// publishedStore is the remedy as it was published: positions by object, each compared on
// its own.
type publishedStore struct {
	at map[string]lsn
	// lastOnly keeps only the last object of a request.
	lastOnly bool
}

// stick stores the position of a request that wrote objects.
func (p *publishedStore) stick(at lsn, objects ...string) {
	if p.at == nil {
		p.at = make(map[string]lsn)
	}
	if p.lastOnly {
		objects = objects[len(objects)-1:]
	}
	for _, object := range objects {
		p.at[object] = at
	}
}

// host chooses for a request: -1 is the primary. A missing key is fine, and each
// object names a host that has it; the last one's is taken.
func (p *publishedStore) host(replayed []lsn, objects ...string) int {
	chosen := 0
	for _, object := range objects {
		need, stored := p.at[object]
		if !stored {
			continue
		}
		found := -1
		for i, at := range replayed {
			if at >= need {
				found = i
			}
		}
		if found < 0 {
			return -1
		}
		chosen = found
	}
	return chosen
}

// before returns an error while a standby is before a position.
func before(replayed, at lsn) error {
	if replayed < at {
		return fmt.Errorf("it is %d bytes before", at-replayed)
	}
	return nil
}
