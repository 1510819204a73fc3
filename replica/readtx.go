package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrSnapshotOlder says that a transaction's snapshot was taken before something
// that its session has come to expect since. Begin another transaction.
var ErrSnapshotOlder = errors.New("the transaction's snapshot is older than what its session expects by now")

// readTx is a READ ONLY transaction of the read door. Each statement meets what its
// session expects by then.
type readTx struct {
	reading
	db      *DB
	session *Session
	conn    *pgxpool.Conn
	seat    *seat    // nil on the primary
	shown   Position // what the snapshot is known to show
	fixed   bool     // there is one snapshot for all statements
	taken   bool     // the first snapshot has been taken, by a statement
	oldest  Position // what it shows at least: a cursor may be as old
	// marked are the objects that were being written when it was taken: what is known of
	// them is that their writes were not acknowledged, or are decided by now.
	marked []Object

	mu     sync.Mutex
	closed bool
}

// BeginTx begins a READ ONLY transaction, on a standby that has what the session
// may expect, else on the primary. When the session comes to expect more than its
// snapshot shows, a statement of a REPEATABLE READ transaction, or one on a standby that
// does not have it yet, or FETCH, since a cursor has the snapshot of its DECLARE, is
// refused: [ErrSnapshotOlder].
func (r Reader) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	options.AccessMode = pgx.ReadOnly
	s := r.session
	var tried []*host
	for {
		taken, choice, err := s.db.seat(ctx, s, &tried)
		if err != nil {
			return nil, err
		}
		s.db.chose(ctx, s, choice)
		if taken == nil {
			return s.db.readPrimaryTx(ctx, s, options)
		}
		tx, err := s.db.readTx(ctx, s, taken, options)
		if err == nil {
			return tx, nil
		}
		taken.conn.Release()
		move, lost := taken.movable(ctx, err)
		if lost {
			taken.host.failed(err)
		}
		if !move {
			return nil, err
		}
		s.db.counters.retried.Add(1)
		tried = append(tried, taken.host)
	}
}

// Begin begins a READ ONLY transaction: see [Reader.BeginTx].
func (r Reader) Begin(ctx context.Context) (pgx.Tx, error) { return r.BeginTx(ctx, pgx.TxOptions{}) }

func (db *DB) readTx(ctx context.Context, s *Session, taken *seat, options pgx.TxOptions) (*readTx, error) {
	inner, err := taken.conn.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	tx := &readTx{db: db, session: s, conn: taken.conn, seat: taken, fixed: snapshots(options)}
	tx.reading = reading{inner, tx}
	if taken.proof != nil {
		tx.shown = taken.proof.current().at // Asked before the snapshot was taken.
		return tx, nil
	}
	// In band: a transaction keeps its server. The question itself takes the snapshot,
	// which is older than the answer where there is one for all statements.
	own := &sample{}
	var lsn int64
	if err := tx.Tx.QueryRow(ctx, db.statements.sample).Scan(&own.standby, &lsn, &own.at.Timeline); err != nil {
		_ = tx.Tx.Rollback(ctx)
		return nil, missing(err, db.options.Schema)
	}
	own.at.LSN = uint64(lsn)
	if tx.fixed || !own.standby || !own.at.covers(taken.need) {
		_ = tx.Tx.Rollback(ctx)
		return nil, errBehind
	}
	tx.shown = own.at
	return tx, nil
}

func (db *DB) readPrimaryTx(ctx context.Context, s *Session, options pgx.TxOptions) (pgx.Tx, error) {
	conn, err := db.primary.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	tx := &readTx{db: db, session: s, conn: conn, fixed: snapshots(options)}
	if tx.fixed {
		tx.shown, err = db.primary.positionOn(ctx, conn.Conn())
	}
	var inner pgx.Tx
	if err == nil {
		inner, err = conn.BeginTx(ctx, options)
	}
	if err != nil {
		conn.Release()
		return nil, err
	}
	tx.reading = reading{inner, tx}
	return tx, nil
}

// snapshots says whether a transaction has one snapshot for all its statements.
func snapshots(options pgx.TxOptions) bool {
	return options.IsoLevel == pgx.RepeatableRead || options.IsoLevel == pgx.Serializable || options.BeginQuery != ""
}

// ready says whether the next statement may be sent.
func (t *readTx) ready(ctx context.Context, sql string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return pgx.ErrTxClosed
	}
	e := t.session.expectOf(ctx)
	first := !t.taken
	if first {
		t.begin(e)
	}
	shown, fixed := t.shown, t.fixed
	if verb(sql, "FETCH") {
		shown, fixed = t.oldest, true // Of when it was declared.
	}
	switch {
	case t.seat == nil && (first || !fixed):
		return nil // The primary, with a snapshot that is about to be taken.
	case !e.primary && shown.covers(e.need):
		return nil
	case t.seat == nil && shown.covers(e.need) && t.knew(e):
		return nil // Whatever sends the session to the primary, it is there.
	case fixed || e.primary || t.seat.proof == nil:
		return fmt.Errorf("%w: it shows %s, needed is %s (%s)", ErrSnapshotOlder, shown, e.need, e.why)
	}
	known := t.seat.proof
	if !known.covers(e.need) {
		if err := t.db.ask(ctx, t.conn.Conn(), known); err != nil {
			return err
		}
		if !known.covers(e.need) {
			return fmt.Errorf("%w: the standby has %s, needed is %s", ErrSnapshotOlder, known.current().at, e.need)
		}
	}
	t.shown = known.current().at
	return nil
}

// begin notes what the first snapshot shows, which is about to be taken.
func (t *readTx) begin(e expectation) {
	t.taken, t.oldest, t.marked = true, t.shown, t.session.marked()
	if t.seat == nil && !t.fixed {
		t.oldest = e.need // The primary has it, and more.
	}
}

// knew says whether all that the store does not tell the position of was watched
// when the snapshot was taken: what was acknowledged by then, it shows.
func (t *readTx) knew(e expectation) bool {
	switch e.why {
	case ForeignToken:
		return false
	case BeingWritten, StoreAway:
	default:
		return true
	}
	for _, object := range t.session.marked() {
		if !slices.Contains(t.marked, object) {
			return false
		}
	}
	return true
}

// reading is a transaction whose statements have to be ready: a readTx, or one that is
// nested in it.
type reading struct {
	pgx.Tx
	of *readTx
}

func (t reading) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.of.ready(ctx, sql); err != nil {
		return failedRows(err)
	}
	rows, err := t.Tx.Query(ctx, sql, args...)
	t.of.session.read(t.of.seat)
	return rows, err
}

func (t reading) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return rowOf(t.Query(ctx, sql, args...))
}

func (t reading) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.of.ready(ctx, sql); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.Tx.Exec(ctx, sql, args...)
}

func (t reading) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	sql := ""
	for _, query := range batch.QueuedQueries {
		if verb(query.SQL, "FETCH") {
			sql = query.SQL
		}
	}
	if err := t.of.ready(ctx, sql); err != nil {
		return pgx.FailedBatchResults(batch, err)
	}
	results := t.Tx.SendBatch(ctx, batch)
	t.of.session.read(t.of.seat)
	return results
}

func (t reading) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := t.of.ready(ctx, ""); err != nil {
		return nil, err
	}
	inner, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return reading{inner, t.of}, nil
}

func (t reading) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := t.of.ready(ctx, ""); err != nil {
		return nil, err
	}
	return t.Tx.Prepare(ctx, name, sql)
}

func (t *readTx) Commit(ctx context.Context) error { return t.finish(ctx, t.Tx.Commit) }

func (t *readTx) Rollback(ctx context.Context) error { return t.finish(ctx, t.Tx.Rollback) }

func (t *readTx) finish(ctx context.Context, end func(context.Context) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return pgx.ErrTxClosed
	}
	t.closed = true
	defer t.conn.Release()
	return end(ctx)
}
