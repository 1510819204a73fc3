package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"casq/replica/internal/flight"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// primary is the server that is written to.
type primary struct {
	pool       *pgxpool.Pool
	statements statements
	schema     string
	key        string                   // of what a connection knows: another DB may use the same pool
	inBand     bool                     // a connection may change its server
	newest     atomic.Pointer[Position] // the newest position that was met
	system     atomic.Int64

	positions *flight.Question[Position]
	listings  *flight.Question[struct{}] // of timelines
	listed    atomic.Int64               // when the last one was asked for, since began
	began     time.Time

	mu        sync.Mutex
	timelines map[int64]bool // those that the primary's table has
}

const (
	rememberedTimelines = 10_000
	primaryPatience     = 5 * time.Second
)

func newPrimary(background context.Context, pool *pgxpool.Pool, texts statements, options Options) *primary {
	p := &primary{
		pool: pool, statements: texts, schema: options.Schema, key: "casq/replica log in " + options.Schema,
		inBand: options.InBand, began: time.Now(),
	}
	p.positions = flight.New(background, "ask the primary's position", p.ask)
	p.listings = flight.New(background, "read the primary's timelines", p.list)
	return p
}

// note remembers the newest position that was met, for the lag of standbys.
func (p *primary) note(at Position) {
	for {
		old := p.newest.Load()
		if old != nil && old.covers(at) {
			return
		}
		if p.newest.CompareAndSwap(old, &at) {
			return
		}
	}
}

// present returns the primary's position, asked after the call began. Calls that
// come while one is on its way share the next one.
func (p *primary) present(ctx context.Context) (Position, error) { return p.positions.Get(ctx) }

func (p *primary) ask(ctx context.Context) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, primaryPatience)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return Position{}, fmt.Errorf("ask the primary's position: %w", err)
	}
	defer conn.Release()
	return p.positionOn(ctx, conn.Conn())
}

// positionOn asks on a connection that has no transaction open: inside one, the
// position would lie before its commit.
func (p *primary) positionOn(ctx context.Context, conn *pgx.Conn) (Position, error) {
	log := p.logOf(conn)
	if log == nil || p.inBand {
		return p.meet(ctx, conn)
	}
	var lsn int64
	if err := conn.QueryRow(ctx, p.statements.quick).Scan(&lsn); err != nil {
		return Position{}, fmt.Errorf("ask the primary's position: %w", err)
	}
	at := log.position(uint64(lsn))
	p.note(at)
	return at, nil
}

// meet asks which log conn's server writes, and begins a timeline in it when this is
// the first connection since a promotion, or since ever.
func (p *primary) meet(ctx context.Context, conn *pgx.Conn) (Position, error) {
	for began := false; ; began = true {
		var log serverLog
		var system, lsn, block, segment int64
		err := conn.QueryRow(ctx, p.statements.present).Scan(&log.timeline, &system, &lsn, &block, &segment)
		if err == nil {
			log.wal = wal{uint64(block), uint64(segment)}
			conn.PgConn().CustomData()[p.key] = &log
			p.system.Store(system)
			p.remember(log.timeline)
			at := log.position(uint64(lsn))
			p.note(at)
			return at, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) || began {
			return Position{}, fmt.Errorf("ask the primary's position: %w", missing(err, p.schema))
		}
		if _, err := conn.Exec(ctx, p.statements.begin); err != nil {
			return Position{}, fmt.Errorf("begin the primary's timeline: %w", missing(err, p.schema))
		}
	}
}

// serverLog is the log that a connection's server writes. It stays the same for as
// long as the connection is open.
type serverLog struct {
	timeline int64
	wal      wal
}

func (l *serverLog) position(insert uint64) Position {
	return Position{Timeline: l.timeline, LSN: l.wal.endOfRecord(insert)}
}

// logOf returns what is known of conn's log, or nil.
func (p *primary) logOf(conn *pgx.Conn) *serverLog {
	log, _ := conn.PgConn().CustomData()[p.key].(*serverLog)
	return log
}

// introduce makes conn's log known. It must not be in a transaction.
func (p *primary) introduce(ctx context.Context, conn *pgx.Conn) error {
	if p.logOf(conn) != nil {
		return nil
	}
	_, err := p.meet(ctx, conn)
	return err
}

func (p *primary) remember(timeline int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timelines == nil {
		p.timelines = make(map[int64]bool)
	}
	p.timelines[timeline] = true
}

func (p *primary) remembers(timeline int64) bool {
	if newest := p.newest.Load(); newest != nil && newest.Timeline == timeline {
		return true // It was met on the primary.
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timelines[timeline]
}

// knows says whether timeline is one of this primary's. Any other is that of
// another cluster, or of a history that was given up.
func (p *primary) knows(ctx context.Context, timeline int64) (bool, error) {
	if timeline == 0 || p.remembers(timeline) {
		return true, nil
	}
	if listed := p.listed.Load(); listed == 0 || time.Since(p.began)-time.Duration(listed) > listingHolds {
		if _, err := p.listings.Get(ctx); err != nil {
			return false, err
		}
	}
	return p.remembers(timeline), nil
}

// listingHolds is for how long a timeline that is not in a listing counts as unknown: whoever
// makes up tokens has no query for each of them. To take one that began in that time for
// unknown costs a read from the primary.
const listingHolds = 100 * time.Millisecond

func (p *primary) list(ctx context.Context) (none struct{}, err error) {
	ctx, cancel := context.WithTimeout(ctx, primaryPatience)
	defer cancel()
	asked := time.Since(p.began)
	rows, err := p.pool.Query(ctx, p.statements.known)
	if err != nil {
		return none, fmt.Errorf("read the primary's timelines: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return none, fmt.Errorf("read the primary's timelines: %w", missing(err, p.schema))
	}
	for _, line := range lines {
		p.remember(line)
	}
	p.listed.Store(int64(asked))
	return none, nil
}
