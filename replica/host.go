package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// host is one configured standby: an address, at which there may be one server, or
// several, or another one than yesterday.
type host struct {
	db     *DB
	name   string // address and port, never a password
	pool   *pgxpool.Pool
	probes *pgxpool.Pool // one connection, so that probes never wait for reads
	cancel context.CancelFunc
	done   chan struct{} // closed when its probes have ended
	probed chan struct{} // closed when the first one has

	state  atomic.Pointer[hostState]
	served atomic.Int64
	// acquiring counts the reads that are about to get a connection. The pool could tell
	// more, at the price of an allocation and a lock for each choice.
	acquiring atomic.Int32
	// lag is how long positions that were waited for took to arrive, smoothed.
	lag  atomic.Int64
	wake chan struct{}

	mu      sync.Mutex
	waiters map[*waiter]struct{}
	// vainFor is how long nobody waits, until vainUntil, since a wait was in vain.
	vainFor   time.Duration
	vainUntil time.Time
}

// hostState is what the last probe found.
type hostState struct {
	server *server // nil: the host cannot be used
	why    string  // in that case
	probed time.Time
}

const notProbed = "not probed yet"

const (
	probePatience = 2 * time.Second
	fastProbe     = time.Millisecond
)

func (db *DB) newHost(ctx context.Context, url string) (*host, error) {
	pool, err := db.options.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open a pool for a standby: %w", err)
	}
	config := pool.Config()
	name := net.JoinHostPort(config.ConnConfig.Host, strconv.Itoa(int(config.ConnConfig.Port)))
	config.MinConns, config.MinIdleConns, config.MaxConns = 0, 0, 1
	probes, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open a pool for standby %s: %w", name, err)
	}
	h := &host{
		db: db, name: name, pool: pool, probes: probes, done: make(chan struct{}), probed: make(chan struct{}),
		wake: make(chan struct{}, 1), waiters: make(map[*waiter]struct{}),
	}
	h.state.Store(&hostState{why: notProbed})
	return h, nil
}

// run probes until ctx ends.
func (h *host) run(ctx context.Context) {
	defer close(h.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var first sync.Once
	for {
		select {
		case <-ctx.Done():
			h.release(false)
			return
		case <-timer.C:
		case <-h.wake:
		}
		h.probe(ctx)
		first.Do(func() { close(h.probed) })
		pause := h.db.options.ProbeEvery
		if h.waiting() > 0 {
			pause = fastProbe
		}
		timer.Reset(pause)
	}
}

// probe asks the host who it is and where, and tells whoever waits.
func (h *host) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	found, at, err := h.ask(ctx)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return
		}
		h.unusable("does not answer: " + err.Error())
		return
	}
	if why := h.db.misfit(ctx, found, at); why != "" {
		h.unusable(why)
		return
	}
	if was := h.state.Swap(&hostState{server: found, probed: time.Now()}); was.server == nil && was.why != notProbed {
		h.db.options.Logger.InfoContext(ctx, "standby is used", "host", h.name, "position", at.at.String())
	}
	h.tell(at)
}

func (h *host) ask(ctx context.Context) (*server, *sample, error) {
	conn, err := h.probes.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Release()
	data := conn.Conn().PgConn().CustomData()
	known, _ := data[proofKey].(*proof)
	if known == nil || h.db.options.InBand { // There it may be another server each time.
		known, err = h.db.meet(ctx, conn.Conn())
	} else {
		err = h.db.ask(ctx, conn.Conn(), known)
	}
	if err != nil {
		return nil, nil, err
	}
	data[proofKey] = known
	return known.server, known.own, nil
}

// misfit says why a server cannot be read from as a standby of the primary.
//
// The system identifier alone does not tell a server that was set up as a copy of
// another; its timelines do. Were it let in, its numbers would be compared with ours.
func (db *DB) misfit(ctx context.Context, found *server, at *sample) string {
	switch system := db.primary.system.Load(); {
	case system != 0 && found.system != system:
		return fmt.Sprintf("is of another cluster: its system identifier is %d, the primary's is %d", found.system, system)
	case !at.standby:
		return "is a primary, not a standby"
	case at.at.Timeline == 0:
		return "shows no timeline yet: it has not replayed replica.Setup"
	}
	if known, err := db.primary.knows(ctx, at.at.Timeline); err == nil && !known {
		return fmt.Sprintf("shows timeline %d, which the primary does not have: it is of another cluster, or of a history that was given up", at.at.Timeline)
	}
	return "" // Or the primary is away, and cannot be compared with.
}

// unusable takes the host out of use until a probe succeeds.
func (h *host) unusable(why string) {
	was := h.state.Swap(&hostState{why: why, probed: time.Now()})
	h.release(false)
	if was.server != nil || was.why != why {
		h.db.options.Logger.Warn("standby is not used", "host", h.name, "why", why)
	}
}

// failed takes the host out of use after an error of its connection, and has it
// probed at once.
func (h *host) failed(err error) {
	h.unusable("failed: " + err.Error())
	h.poke()
}

func (h *host) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // A probe is about to begin.
	}
}

// at returns where the host is known to be, and whether it can be used.
func (h *host) at() (Position, bool) {
	state := h.state.Load()
	if state.server == nil {
		return Position{}, false
	}
	newest := state.server.newest.Load()
	return newest.at, newest.standby
}

// healthy says whether the host's lag is known and within limit, in bytes.
func (h *host) healthy(newest *Position, limit int64) bool {
	state := h.state.Load()
	if state.server == nil || time.Since(state.probed) > 2*h.db.options.ProbeEvery+probePatience {
		return false
	}
	at := state.server.newest.Load()
	if !at.standby {
		return false
	}
	lag, known := behind(at.at, newest)
	return limit < 0 || known && lag <= limit
}

// behind returns how many bytes at lies behind the newest position of the primary;
// across a promotion that is unknown.
func behind(at Position, newest *Position) (int64, bool) {
	if newest == nil || at.Timeline != newest.Timeline {
		return 0, false
	}
	if at.LSN >= newest.LSN {
		return 0, true
	}
	return int64(newest.LSN - at.LSN), true
}

// busy says whether reads wait for a connection.
func (h *host) busy() bool { return h.acquiring.Load() > 0 }

// close drains the host: reads that are on it end.
func (h *host) close() {
	h.cancel()
	<-h.done
	h.probes.Close()
	h.pool.Close()
}
