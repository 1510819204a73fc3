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
	newest     atomic.Pointer[Position] // the newest position that was met
	system     atomic.Int64
	wal        atomic.Pointer[wal]

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
	for began := false; ; began = true {
		var at Position
		var system, lsn, block, segment int64
		err := conn.QueryRow(ctx, p.statements.present).Scan(&at.Timeline, &system, &lsn, &block, &segment)
		if err == nil {
			layout := wal{uint64(block), uint64(segment)}
			at.LSN = layout.endOfRecord(uint64(lsn))
			conn.PgConn().CustomData()[timelineKey] = at.Timeline
			p.wal.Store(&layout)
			p.system.Store(system)
			p.remember(at.Timeline)
			p.note(at)
			return at, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) || began {
			return Position{}, fmt.Errorf("ask the primary's position: %w", missing(err, p.schema))
		}
		// The first connection since a promotion, or since ever.
		if _, err := conn.Exec(ctx, p.statements.begin); err != nil {
			return Position{}, fmt.Errorf("begin the primary's timeline: %w", missing(err, p.schema))
		}
	}
}

const timelineKey = "casq/replica timeline"

// timelineOf returns the timeline that conn's server writes in. A server that is
// written to stays in it for as long as a connection to it is open.
func (p *primary) timelineOf(ctx context.Context, conn *pgx.Conn) (int64, error) {
	if line, ok := conn.PgConn().CustomData()[timelineKey].(int64); ok {
		return line, nil
	}
	at, err := p.positionOn(ctx, conn)
	return at.Timeline, err
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
