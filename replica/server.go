package replica

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// identity tells a running postmaster from any other, also behind one address, and
// from itself before a restart.
type identity struct {
	address string // "" on a Unix socket
	port    int
	started int64 // microseconds
}

// server is one running postmaster: what all connections to it share.
type server struct {
	identity identity
	system   int64 // the cluster's system identifier
	newest   atomic.Pointer[sample]
}

// sample is what a server answered about itself.
type sample struct {
	at      Position
	standby bool
	// asked is when the question was sent, by this process' monotonic clock.
	asked time.Time
}

// learn keeps the newest answer. Not the largest: when a backend of a standby
// crashes, its postmaster, with the same start time, replays again from further back.
func (s *server) learn(answer *sample) {
	for {
		old := s.newest.Load()
		if old != nil && !answer.asked.After(old.asked) {
			return
		}
		if s.newest.CompareAndSwap(old, answer) {
			return
		}
	}
}

// servers are those that this process has met.
type servers struct {
	mu sync.Mutex
	by map[identity]*server
}

const rememberedServers = 1024

func (s *servers) meet(id identity, system int64) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.by[id]; known != nil && known.system == system {
		return known
	}
	if s.by == nil || len(s.by) >= rememberedServers {
		s.by = make(map[identity]*server) // connections keep theirs
	}
	met := &server{identity: id, system: system}
	s.by[id] = met
	return met
}

// proof is what a connection knows of the server at its other end.
type proof struct {
	server *server
	// own is what this very connection was told last.
	own *sample
	// met is when the connection was known to be open.
	met time.Time
}

// current returns the newest sample that holds for this connection: one that was
// asked for while it was open. As long as it is, the server has not restarted, nor
// thrown all backends out after a crash of one, so its replay has only moved on.
func (p *proof) current() *sample {
	if shared := p.server.newest.Load(); shared != nil && shared.asked.After(p.met) && shared.asked.After(p.own.asked) {
		return shared
	}
	return p.own
}

func (p *proof) covers(need Position) bool {
	current := p.current()
	return current.standby && current.at.covers(need)
}

// The newest timeline is read in the statement's snapshot, which is older than the
// replay position that the statement reads. So a row that was replayed in between
// is missing, and the position counts in the timeline before: too early, never too
// late. The statement that reads the user's data comes afterwards, in a later
// snapshot. It is the same in a transaction, unless it is REPEATABLE READ.
const sampleColumns = `pg_catalog.pg_is_in_recovery(),
	coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
		ELSE pg_catalog.pg_current_wal_insert_lsn() END, '0/0'), 0)::pg_catalog.int8,
	coalesce((SELECT t.timeline FROM %s.server_timelines AS t ORDER BY t.timeline DESC LIMIT 1), 0)`

const identityColumns = `, coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), ''),
	pg_catalog.current_setting('port')::pg_catalog.int4,
	(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8,
	(SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)`

// readOnly has a connection refuse writes also after its standby was promoted: a
// write that comes through the read door runs on the primary, or not at all. Behind a
// pooler the setting would stay with a server's connection that others use too.
const readOnly = `, pg_catalog.set_config('default_transaction_read_only', 'on', false)`

// statements are the texts that depend on the schema.
type statements struct{ sample, meet, present, quick, begin, known string }

func newStatements(schema string, inBand bool) statements {
	columns := fmt.Sprintf(sampleColumns, quoted(schema))
	setting := readOnly
	if inBand {
		setting = ", ''"
	}
	return statements{
		sample: "SELECT " + columns,
		meet:   "SELECT " + columns + identityColumns + setting,
		present: fmt.Sprintf(`SELECT t.timeline, t.system_identifier, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8,
	pg_catalog.current_setting('wal_block_size')::pg_catalog.int8, pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))
FROM %s.server_timelines AS t
WHERE t.timeline = (SELECT max(n.timeline) FROM %[1]s.server_timelines AS n)
  AND t.server_timeline = ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int4
  AND t.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)`, quoted(schema)),
		quick: "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8",
		begin: fmt.Sprintf("SELECT %s.begin_server_timeline()", quoted(schema)),
		known: fmt.Sprintf("SELECT t.timeline FROM %s.server_timelines AS t ORDER BY t.timeline DESC LIMIT %d", quoted(schema), rememberedTimelines),
	}
}

const proofKey = "casq/replica"

// proofOf returns what conn knows of its server, or nil.
func proofOf(conn *pgx.Conn) *proof {
	known, _ := conn.PgConn().CustomData()[proofKey].(*proof)
	return known
}

// prove returns what conn knows of its server, and asks, on conn, when it knows
// none, or not enough for need.
func (db *DB) prove(ctx context.Context, conn *pgx.Conn, need Position) (*proof, error) {
	known := proofOf(conn)
	if known == nil {
		met, err := db.meet(ctx, conn)
		if err != nil {
			return nil, err
		}
		conn.PgConn().CustomData()[proofKey] = met
		return met, nil
	}
	if known.covers(need) {
		return known, nil
	}
	return known, db.ask(ctx, conn, known)
}

// meet asks conn who is at its other end.
func (db *DB) meet(ctx context.Context, conn *pgx.Conn) (*proof, error) {
	asked := time.Now()
	var id identity
	var system, lsn int64
	own := &sample{asked: asked}
	err := conn.QueryRow(ctx, db.statements.meet).Scan(&own.standby, &lsn, &own.at.Timeline, &id.address, &id.port, &id.started, &system, nil)
	if err != nil {
		return nil, missing(err, db.options.Schema)
	}
	own.at.LSN = uint64(lsn)
	met := &proof{server: db.servers.meet(id, system), own: own, met: time.Now()}
	met.server.learn(own)
	return met, nil
}

// ask takes a sample on conn.
func (db *DB) ask(ctx context.Context, conn *pgx.Conn, known *proof) error {
	own := &sample{asked: time.Now()}
	var lsn int64
	if err := conn.QueryRow(ctx, db.statements.sample).Scan(&own.standby, &lsn, &own.at.Timeline); err != nil {
		return missing(err, db.options.Schema)
	}
	own.at.LSN = uint64(lsn)
	known.own = own
	known.server.learn(own)
	return nil
}
