package counter

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

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
	buf, n, err := c.open(ctx)
	if err != nil {
		return v, err
	}
	shard := shardOf(k, n)
	for range readTries {
		if v, err = c.flushed(ctx, k, shard); err != nil || buf == nil {
			return v, err
		}
		s, pending, frozen, err := buf.read(ctx, shard, field(lowField, k), field(highField, k), field(itemsField, k))
		if err != nil {
			return v, nil //nolint:nilerr // Redis is away: the flushed value says as of when it is
		}
		at := stampOf(v.AsOf)
		if !s.fits(at) {
			continue
		}
		head, err := s.head.position()
		if err != nil {
			return v, err
		}
		if s.frozenBase == at {
			v.add(frozen)
		}
		v.add(pending)
		v.Live, v.AsOf = true, head
		return v, nil
	}
	return v, nil
}

func (v *Value) add(d []int64) {
	addBytes(v.Size, d[0], d[1])
	v.Items += d[2]
	v.Known = v.Known || d[0] != 0 || d[1] != 0 || d[2] != 0
}

// addBytes adds what is pending in the two fields of a size.
func addBytes(size *big.Int, low, high int64) {
	n := new(big.Int).Mul(big.NewInt(high), big.NewInt(limb))
	size.Add(size, n.Add(n, big.NewInt(low)))
}

// flushed reads value and stamp in one statement.
func (c *Counters) flushed(ctx context.Context, k Key, shard int) (v Value, err error) {
	v.Key = k
	var size string
	err = c.cfg.Home.QueryRow(ctx, shardsSQL.Read, k.Kind, k.ScopeID, shard).Scan(append([]any{
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
