package counter

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed total.sql
var totalText string

// totalSQL has the statements of total.sql.
var totalSQL = queries.Parse[struct{ Scopes, Flushed string }]("counter/total", totalText)

var (
	// ErrNoTotals is returned for a kind whose scopes are not grouped, or are
	// grouped by a table that is not there, or may not be read.
	ErrNoTotals = errors.New("no totals")

	// ErrNoParent is returned for a parent without a scope.
	ErrNoParent = errors.New("no such parent")
)

// totalPage is how many scopes are read at a time. Each has three fields, and a
// script takes less than 8,000.
const totalPage = 2000

// Total is what the scopes of a parent have together.
type Total struct {
	Kind     string
	ParentID string
	Size     *big.Int // bytes
	Items    int64
	Scopes   int64 // how many they are, those without a counter included
	// Exact is true if all its scopes are.
	Exact bool
	// Live says that what is pending in Redis is in it, for all scopes. AsOf and
	// At are those of the scope whose value is the oldest: all events up to
	// there are counted, and of some scopes later ones.
	Live bool
	AsOf eventlog.Position
	At   time.Time
}

// Total returns the sum of the present values of a parent's scopes, as
// casq.group_scopes says where they are. Scopes that come, go or move to
// another parent count at once. It is read page by page: neither memory nor the
// size of a statement grows with the number of scopes.
func (c *Counters) Total(ctx context.Context, kind, parent string) (t Total, err error) {
	buf, n, err := c.feed.Open(ctx)
	if err != nil {
		return t, err
	}
	t = Total{Kind: kind, ParentID: parent, Size: new(big.Int), Exact: true, Live: true}
	conn, err := c.cfg.Home.Acquire(ctx)
	if err != nil {
		return t, fmt.Errorf("connect to read a total: %w", err)
	}
	defer conn.Release()
	r := totalReader{conn: conn.Conn(), buf: buf, shards: n, hook: c.cfg.Hook, total: &t}
	err = r.read(ctx)
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Message, "casq: "):
		return t, fmt.Errorf("%w: %s: %s", ErrNoTotals, strings.TrimPrefix(pgErr.Message, "casq: "), pgErr.Hint)
	case err != nil:
		return t, fmt.Errorf("read total %s of %s: %w", kind, parent, err)
	case t.Scopes == 0:
		return t, fmt.Errorf("%w: no scope of kind %s belongs to %q in the table that groups them (casq.scope_groups)", ErrNoParent, kind, parent)
	}
	return t, nil
}

// totalReader adds up a total.
type totalReader struct {
	conn   *pgx.Conn
	buf    *buffer.Buffer // nil: what is flushed is all there is
	shards int
	hook   func(point string)
	total  *Total
}

// read lists the scopes once, through a cursor that outlives its transaction:
// no transaction is open while Redis is asked, however long that takes.
func (r *totalReader) read(ctx context.Context) error {
	if _, err := r.conn.Exec(ctx, totalSQL.Scopes, r.total.Kind, r.total.ParentID); err != nil {
		return err
	}
	defer r.closeCursor(context.WithoutCancel(ctx))
	for {
		rows, err := r.conn.Query(ctx, fmt.Sprintf("FETCH %d FROM casq_scopes", totalPage))
		if err != nil {
			return err
		}
		scopes, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(scopes) == 0 {
			return err
		}
		if err := r.add(ctx, scopes); err != nil {
			return err
		}
	}
}

// closeCursor makes the connection fit for others. A connection on which that fails
// is closed.
func (r *totalReader) closeCursor(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := r.conn.Exec(ctx, "CLOSE casq_scopes"); err != nil {
		_ = r.conn.Close(ctx)
	}
}

// add adds a page of scopes: for each shard what was flushed of them, and what
// is pending if that begins where the flushed part ends. Where a flush comes
// between too often, or without Redis, it is the flushed part alone.
func (r *totalReader) add(ctx context.Context, scopes []string) error {
	keys := make(map[int][]Key)
	for _, scope := range scopes {
		k := Key{Kind: r.total.Kind, ScopeID: scope}
		shard := tally.ShardOf(k, r.shards)
		keys[shard] = append(keys[shard], k)
	}
	var flushed []shardSum
	for try := 0; len(keys) > 0 && try < readTries; try++ {
		var err error
		if flushed, err = r.flushed(ctx, keys); err != nil {
			return err
		}
		if r.buf == nil {
			break
		}
		r.hook("total:flushed")
		redis, err := r.buf.ReadAll(ctx, keys)
		if err != nil {
			r.buf = nil // as it is without Redis, for the pages to come as well
			break
		}
		for _, s := range flushed {
			if err := s.addPending(redis[s.shard]); errors.Is(err, buffer.ErrNotIntact) {
				continue
			} else if err != nil {
				return err
			}
			r.total.add(s, true, len(keys[s.shard]))
			delete(keys, s.shard)
		}
	}
	for _, s := range flushed {
		if left := keys[s.shard]; left != nil {
			r.total.add(s, false, len(left))
		}
	}
	return nil
}

// shardSum is what some scopes of a shard have together, and as of when.
type shardSum struct {
	shard int
	size  *big.Int
	items int64
	exact bool
	asOf  eventlog.Position
	at    time.Time
}

func (r *totalReader) flushed(ctx context.Context, keys map[int][]Key) ([]shardSum, error) {
	var shards []int
	var scopes []string
	for shard, of := range keys {
		for _, k := range of {
			shards, scopes = append(shards, shard), append(scopes, k.ScopeID)
		}
	}
	rows, err := r.conn.Query(ctx, totalSQL.Flushed, r.total.Kind, shards, scopes)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s shardSum, err error) {
		var size string
		if err := row.Scan(append([]any{&s.shard, &size, &s.items, &s.exact, &s.at}, s.asOf.Fields()...)...); err != nil {
			return s, err
		}
		var ok bool
		if s.size, ok = new(big.Int).SetString(size, 10); !ok {
			return s, fmt.Errorf("%q is no whole number", size)
		}
		return s, nil
	})
}

// addPending adds what is in Redis, if it belongs to what was flushed.
func (s *shardSum) addPending(l buffer.Shard) error {
	at := buffer.StampOf(s.asOf)
	if !l.Fits(at) {
		return buffer.ErrNotIntact
	}
	head, err := l.Head.Position()
	if err != nil {
		return err
	}
	if l.FrozenBase == at {
		s.addSums(l.Frozen)
	}
	s.addSums(l.Pending)
	s.asOf = head
	return nil
}

func (s *shardSum) addSums(deltas []tally.Delta) {
	for _, d := range deltas {
		addBytes(s.size, d)
		s.items += d.Items
	}
}

func (t *Total) add(s shardSum, live bool, scopes int) {
	if t.Scopes == 0 || older(s.asOf, t.AsOf) {
		t.AsOf = s.asOf
	}
	if t.Scopes == 0 || s.at.Before(t.At) {
		t.At = s.at
	}
	t.Size.Add(t.Size, s.size)
	t.Items += s.items
	t.Scopes += int64(scopes)
	t.Exact, t.Live = t.Exact && s.exact, t.Live && live
}

func older(a, b eventlog.Position) bool {
	return cmp.Or(cmp.Compare(a.Timeline.Ordinal, b.Timeline.Ordinal), cmp.Compare(a.Tick, b.Tick), cmp.Compare(a.Page, b.Page)) < 0
}
