package counter

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/big"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed read.sql
var readText string

// readSQL has the statements of read.sql.
var readSQL = queries.Parse[struct{ Read string }]("counter/read", readText)

// Value of a counter.
type Value struct {
	Key
	Size  *big.Int // bytes
	Items int64
	// Exact is false for a table that had rows when it was tracked, until it was
	// recounted.
	Exact bool
	// Known is false for a counter that nothing has been counted under.
	Known bool
	// Live says that what is pending in Redis is in it. AsOf is the tick up to
	// which events are counted, At when that was flushed, for a value that is
	// not live.
	Live bool
	AsOf eventlog.Position
	At   time.Time
}

// readTries is how often a value is read again when a flush comes between.
const readTries = 10

// Get returns the present value: what was flushed, and what is pending. Both
// belong together: a pending part is added only if it begins where the flushed
// part ends. Without Redis, or when the two do not fit for too long, it is the
// flushed value, as of its own position.
func (c *Counters) Get(ctx context.Context, k Key) (v Value, err error) {
	buf, n, err := c.feed.Open(ctx)
	if err != nil {
		return v, err
	}
	shard := tally.ShardOf(k, n)
	for range readTries {
		if v, err = c.flushed(ctx, k, shard); err != nil || buf == nil {
			return v, err
		}
		s, err := buf.Read(ctx, shard, k)
		if err != nil {
			return v, nil //nolint:nilerr // Redis is away: the flushed value says as of when it is
		}
		at := buffer.StampOf(v.AsOf)
		if !s.Fits(at) {
			continue
		}
		head, err := s.Head.Position()
		if err != nil {
			return v, err
		}
		if s.FrozenBase == at {
			v.add(s.Frozen)
		}
		v.add(s.Pending)
		v.Live, v.AsOf = true, head
		return v, nil
	}
	return v, nil
}

func (v *Value) add(deltas []tally.Delta) {
	for _, d := range deltas {
		addBytes(v.Size, d)
		v.Items += d.Items
		v.Known = v.Known || d != (tally.Delta{})
	}
}

// addBytes adds what is pending to a size.
func addBytes(size *big.Int, d tally.Delta) {
	n := new(big.Int).Mul(big.NewInt(d.High), big.NewInt(tally.Limb))
	size.Add(size, n.Add(n, big.NewInt(d.Low)))
}

// flushed reads value and stamp in one statement.
func (c *Counters) flushed(ctx context.Context, k Key, shard int) (v Value, err error) {
	v.Key = k
	var size string
	err = c.cfg.Home.QueryRow(ctx, readSQL.Read, k.Kind, k.ScopeID, shard).Scan(append([]any{
		&size, &v.Items, &v.Exact, &v.Known, &v.At}, v.AsOf.Fields()...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, ErrNotStarted
	}
	if err != nil {
		return v, fmt.Errorf("read counter %s of %s: %w", k.Kind, k.ScopeID, err)
	}
	var ok bool
	if v.Size, ok = new(big.Int).SetString(size, 10); !ok {
		return v, fmt.Errorf("read counter %s of %s: %q is no whole number", k.Kind, k.ScopeID, size)
	}
	return v, nil
}
