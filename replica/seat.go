package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// seat is a connection to a standby that has been shown to have what the session
// needs.
type seat struct {
	host  *host
	conn  *pgxpool.Conn
	raw   *pgx.Conn // of conn, also after that was given back
	proof *proof    // nil where it comes in band
	need  Position
	audit *audit // nil: the read is not compared with the primary
}

// acquirePatience bounds how long a read waits for a connection to one standby,
// beside its own context.
const (
	acquirePatience = time.Second
	oncePatience    = 100 * time.Millisecond
)

// seat finds a standby for the session's next read, beside the hosts in tried. It
// is nil when the primary has to serve. The error is that of the context.
func (db *DB) seat(ctx context.Context, s *Session, tried *[]*host) (*seat, Choice, error) {
	e := s.expect(ctx)
	choice := Choice{Host: primaryName, Reason: e.why, Need: e.need}
	if e.primary {
		return nil, choice, nil
	}
	if taken, ok := s.again(ctx, db, e, tried); ok {
		choice = taken.choice(CaughtUp, e)
		return taken, choice, nil
	}
	if !s.remembers(ctx, &e) {
		choice.Reason = Pinned
		return nil, choice, nil
	}
	reason, waited := CaughtUp, time.Duration(0)
	for {
		h := db.pick(e, *tried)
		if h == nil && waited == 0 {
			if e.token && !e.nothing && s.future(ctx) {
				choice.Reason = ForeignToken
				return nil, choice, nil // A wait would be in vain, and take others' place.
			}
			if h, waited = db.wait(ctx, e, *tried); h != nil {
				reason = Waited
			}
		}
		if h == nil {
			break
		}
		taken, err := h.seat(ctx, e.need)
		if taken != nil {
			choice := taken.choice(reason, e)
			choice.Waited = waited
			return taken, choice, nil
		}
		if ctx.Err() != nil {
			return nil, choice, err
		}
		*tried = append(*tried, h)
	}
	if ctx.Err() != nil {
		return nil, choice, fmt.Errorf("wait for a standby: %w", context.Cause(ctx))
	}
	choice.Waited = waited
	if e.nothing {
		choice.Reason = NoStandby
	}
	return nil, choice, nil
}

func (t *seat) choice(reason Reason, e expectation) Choice {
	if e.nothing {
		reason = NothingWatched
	}
	t.host.served.Add(1)
	choice := Choice{Host: t.host.name, Reason: reason, Need: e.need}
	if t.proof != nil {
		choice.At = t.proof.current().at
	}
	return choice
}

// pick returns a host that is known to have what is needed, by turns, one with a
// free connection if there is one.
func (db *DB) pick(e expectation, tried []*host) *host {
	hosts := *db.hosts.Load()
	if len(hosts) == 0 {
		return nil
	}
	var busy *host
	first := int(db.turn.Add(1) % uint32(len(hosts)))
	for i := range hosts {
		h := hosts[(first+i)%len(hosts)]
		if !db.has(h, e) || slices.Contains(tried, h) {
			continue
		}
		if len(hosts) == 1 || !h.busy() {
			return h
		}
		busy = h
	}
	return busy
}

func (db *DB) has(h *host, e expectation) bool {
	if e.nothing {
		return h.healthy(db.primary.newest.Load(), db.options.MaxLag)
	}
	at, ok := h.at()
	return ok && at.covers(e.need)
}

// wait waits for the standby that is nearest to what is needed.
func (db *DB) wait(ctx context.Context, e expectation, tried []*host) (*host, time.Duration) {
	if e.nothing {
		return nil, 0
	}
	var best *host
	var nearest Position
	for _, h := range *db.hosts.Load() {
		at, ok := h.at()
		if ok && !slices.Contains(tried, h) && h.hopeful() && (best == nil || at.Compare(nearest) > 0) {
			best, nearest = h, at
		}
	}
	if best == nil {
		return nil, 0
	}
	patience := best.patience()
	if patience == 0 {
		return nil, 0
	}
	// Of a token it is not known, while the primary is away, whether it is of a future.
	newest := db.primary.newest.Load()
	sound := !e.token || newest != nil && newest.covers(e.need)
	began := time.Now()
	if !best.await(ctx, e.need, patience, sound) {
		best = nil
	}
	return best, time.Since(began)
}

// seat takes a connection of h and proves it. A host that fails is taken out of
// use; one whose connection met another server, that is further behind, is not.
func (h *host) seat(ctx context.Context, need Position) (*seat, error) {
	conn, err := h.acquire(ctx)
	if err != nil {
		if !errors.Is(err, context.DeadlineExceeded) || h.pool.Stat().AcquiredConns() == 0 {
			h.lost(ctx, err)
		}
		return nil, err
	}
	if h.db.options.InBand {
		return &seat{host: h, conn: conn, raw: conn.Conn(), need: need}, nil
	}
	known, err := h.prove(ctx, conn.Conn(), need)
	if err != nil {
		conn.Release()
		h.lost(ctx, err)
		return nil, err
	}
	if known == nil {
		conn.Release()
		return nil, errBehind
	}
	return &seat{host: h, conn: conn, raw: conn.Conn(), proof: known, need: need}, nil
}

// acquire takes a connection. As a rule there is one, and no timer is set.
func (h *host) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	h.acquiring.Add(1)
	defer h.acquiring.Add(-1)
	conn, err := h.pool.Acquire(h.db.atOnce.Context(ctx))
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return conn, err
	}
	bounded, cancel := context.WithTimeout(ctx, acquirePatience)
	defer cancel()
	return h.pool.Acquire(bounded)
}

// proven says whether there is nothing to ask any more.
func (h *host) proven(known *proof, need Position) bool {
	current := known.current()
	return current.standby && current.at.covers(need) && h.db.primary.remembers(current.at.Timeline)
}

// prove returns the proof that conn's server is a standby of the primary that has
// need; nil is one that is not, or has not.
func (h *host) prove(ctx context.Context, conn *pgx.Conn, need Position) (*proof, error) {
	if known := proofOf(conn); known != nil && h.proven(known, need) {
		return known, nil
	}
	bounded, cancel := context.WithTimeout(ctx, acquirePatience)
	defer cancel()
	known, err := h.db.prove(bounded, conn, need)
	if err != nil || !known.covers(need) || h.db.misfit(bounded, known.server, known.current()) != "" {
		return nil, err
	}
	return known, nil
}

var errBehind = errors.New("the server at the other end of the connection is behind")

// lost takes the host out of use, unless it is the caller who gave up.
func (h *host) lost(ctx context.Context, err error) {
	if ctx.Err() == nil {
		h.failed(err)
	}
}

// movable says whether a read that failed before its first row may be sent to
// another host, and whether its own host is lost.
func (t *seat) movable(ctx context.Context, err error) (move, lost bool) {
	if ctx.Err() != nil {
		return false, false
	}
	if errors.Is(err, errBehind) {
		return true, false
	}
	e, answered := asPgError(err)
	if !answered {
		broken := t.raw.IsClosed() // Else it is the arguments.
		return broken, broken
	}
	switch e.Code[:2] {
	case "08", "53", "57", "58", "XX":
		// 57014 is a cancel, or the statement's own time-out, which it would have twice.
		return e.Code != "57014", e.Code != "57014"
	case "40":
		return true, false // A conflict with recovery.
	}
	return false, false
}
