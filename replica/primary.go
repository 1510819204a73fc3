package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	mu         sync.Mutex
	timelines  map[int64]bool  // those that the primary's table has
	background context.Context // ends with the DB
	group      sync.WaitGroup
	next       *flight // whoever asks now joins this one
	flying     bool
}

// flight is one question that several ask.
type flight struct {
	done chan struct{}
	at   Position
	err  error
}

const (
	rememberedTimelines = 10_000
	primaryPatience     = 5 * time.Second
)

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
func (p *primary) present(ctx context.Context) (Position, error) {
	p.mu.Lock()
	mine := p.next
	if mine == nil {
		mine = &flight{done: make(chan struct{})}
		p.next = mine
	}
	if !p.flying {
		p.flying = true
		p.group.Go(p.fly)
	}
	p.mu.Unlock()
	select {
	case <-mine.done:
		return mine.at, mine.err
	case <-ctx.Done():
		return Position{}, fmt.Errorf("ask the primary's position: %w", context.Cause(ctx))
	}
}

func (p *primary) fly() {
	for {
		p.mu.Lock()
		current := p.next
		p.next = nil
		if current == nil {
			p.flying = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		current.at, current.err = p.ask(p.background)
		close(current.done)
	}
}

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
	rows, err := p.pool.Query(ctx, p.statements.known)
	if err != nil {
		return false, fmt.Errorf("read the primary's timelines: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return false, fmt.Errorf("read the primary's timelines: %w", missing(err, p.schema))
	}
	for _, line := range lines {
		p.remember(line)
	}
	return p.remembers(timeline), nil
}
