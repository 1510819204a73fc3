package feed

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/shards"
	"casq/counter/internal/tally"
	"casq/eventlog"
)

// Feeder applies to the shards the events beyond their positions. Any number of
// feeders may do so at once: each batch is a compare-and-set from the exact
// position to the next one. A feeder itself is used by one goroutine.
type Feeder struct {
	cfg    Config
	reader *eventlog.Reader
	buf    *buffer.Buffer // nil: Postgres itself
	n      int            // shards of these counters
	mine   []int          // those that are fed
	// stored is where each shard stands, as far as is known. read runs ahead
	// of it over ticks without events, for which nothing is written.
	stored map[int]eventlog.Position
	read   map[int]eventlog.Position
	// checkedAt is when the shards' keys were last found to be there.
	checkedAt time.Time
	movedAt   time.Time
	pending   bool // something is in Redis that no flush was asked for
}

// NewFeeder returns a feeder of some of the n shards: into the buffer, or into
// Postgres if that is nil.
func (f *Feed) NewFeeder(buf *buffer.Buffer, n int, mine ...int) *Feeder {
	return &Feeder{cfg: f.cfg, reader: eventlog.NewReader(f.cfg.Home, f.cfg.PageSize), buf: buf, n: n, mine: mine, movedAt: time.Now()}
}

// Pending tells whether something is in Redis that no flush was asked for.
func (f *Feeder) Pending() bool { return f.pending }

// FlushAsked says that a flush was asked for.
func (f *Feeder) FlushAsked() { f.pending = false }

// moveEvery is how often positions are stored without events, so that a quiet
// shard does not keep the log from being pruned.
const moveEvery = 5 * time.Minute

// Round brings all shards on by one batch at most, and tells whether more may
// follow at once. Shards at one position share a read; those that were replayed
// catch up with the others by themselves, since every step leads to the newest
// tick.
func (f *Feeder) Round(ctx context.Context) (more bool, err error) {
	if f.stored == nil || time.Since(f.checkedAt) > f.cfg.Recheck {
		if err := f.check(ctx); err != nil {
			return false, err
		}
	}
	store := time.Since(f.movedAt) > moveEvery
	if store {
		f.movedAt = time.Now()
	}
	for at, shards := range f.groups() {
		if f.stored == nil {
			return true, nil // some were found at another position meanwhile
		}
		moved, err := f.feed(ctx, at, shards, store)
		if err != nil {
			f.stored = nil // unknown now
			return false, err
		}
		more = more || moved
	}
	return more, nil
}

// groups are the shards by what was read for them.
func (f *Feeder) groups() map[eventlog.Position][]int {
	groups := make(map[eventlog.Position][]int)
	for _, shard := range slices.Sorted(maps.Keys(f.read)) {
		at := f.read[shard]
		groups[at] = append(groups[at], shard)
	}
	return groups
}

// feed applies the next batch to shards that stand at one position. With store, a
// batch without events is stored too, so that a position moves up.
func (f *Feeder) feed(ctx context.Context, at eventlog.Position, shards []int, store bool) (moved bool, err error) {
	batch, err := f.reader.Next(ctx, at)
	switch {
	case isElsewhere(err):
		return true, f.diverged(ctx, shards, err)
	case err != nil:
		return false, err
	}
	if len(batch.Events) == 0 && !at.InStep() && !store {
		for _, shard := range shards {
			f.read[shard] = batch.Next
		}
		return false, nil
	}
	f.cfg.Hook("feed:read")
	byStored := make(map[eventlog.Position][]int)
	for _, shard := range shards {
		byStored[f.stored[shard]] = append(byStored[f.stored[shard]], shard)
	}
	deltas := tally.Collapse(batch.Events, f.n)
	for from, same := range byStored {
		if err := f.apply(ctx, same, from, batch.Next, deltas); err != nil || f.stored == nil {
			return err == nil, err
		}
	}
	f.cfg.Hook("feed:applied")
	return true, nil
}

// apply moves shards from where they are stored to a position, with the deltas in
// between. f.stored is nil afterwards when some were found at another position: what
// was read for the others may not go on from where they are, either.
func (f *Feeder) apply(ctx context.Context, same []int, from, to eventlog.Position, deltas map[int]tally.Sums) error {
	var elsewhere []int
	var err error
	if f.buf != nil {
		elsewhere, err = f.buf.Apply(ctx, same, buffer.StampOf(from), buffer.StampOf(to), deltas)
	} else {
		elsewhere, err = shards.Apply(ctx, f.cfg.Home, same, from, to, deltas)
	}
	if err != nil {
		return err
	}
	f.pending = true
	for _, shard := range same {
		f.stored[shard], f.read[shard] = to, to
	}
	if len(elsewhere) > 0 {
		f.stored = nil // another feeder was faster, or keys are gone
	}
	return nil
}

// check finds out where the shards are, and empties those in Redis that are not
// intact, or do not continue what Postgres has: they are replayed from there.
func (f *Feeder) check(ctx context.Context) error {
	var found map[int]buffer.Stamps
	var err error
	if f.buf != nil {
		if found, err = f.buf.ReadStamps(ctx, f.mine); err != nil {
			return err
		}
	}
	// Only now, and once for all: see buffer.Reset.
	flushed, err := shards.Positions(ctx, f.cfg.Home)
	if err != nil {
		return err
	}
	stored := make(map[int]eventlog.Position, len(f.mine))
	for _, shard := range f.mine {
		p := flushed[shard]
		if f.buf != nil {
			if p, err = f.restore(ctx, shard, found[shard], p); err != nil {
				return err
			}
			f.pending = f.pending || p != flushed[shard]
		}
		stored[shard] = p
	}
	f.keep(stored)
	f.checkedAt = time.Now()
	return nil
}

// keep takes over where the shards are; what was read ahead of an unchanged
// position stays.
func (f *Feeder) keep(stored map[int]eventlog.Position) {
	read := maps.Clone(stored)
	for shard, p := range stored {
		if before, known := f.stored[shard]; known && before == p {
			read[shard] = f.read[shard]
		}
	}
	f.stored, f.read = stored, read
}

// restore returns where a shard in Redis stands, and empties it first unless it is
// intact. found is what Redis said of it, flushed what Postgres had after that.
func (f *Feeder) restore(ctx context.Context, shard int, found buffer.Stamps, flushed eventlog.Position) (p eventlog.Position, err error) {
	for range 10 {
		if found.Fits(buffer.StampOf(flushed)) {
			if p, err = found.Head.Position(); err == nil {
				return p, nil
			}
		}
		emptied, err := f.buf.Reset(ctx, shard, found, buffer.StampOf(flushed))
		if err != nil {
			return p, err
		}
		// Else a flush came between the two reads.
		if emptied && found != (buffer.Stamps{}) {
			f.cfg.Logger.WarnContext(ctx, "redis does not continue what was flushed, replaying", "shard", shard, "head", string(found.Head))
		}
		now, err := f.buf.Read(ctx, shard)
		if err != nil {
			return p, err
		}
		all, err := shards.Positions(ctx, f.cfg.Home)
		if err != nil {
			return p, err
		}
		found, flushed = now.Stamps, all[shard]
	}
	return p, buffer.ErrNotIntact
}

// diverged is for shards whose position the log does not show. What Redis had is
// replayed from Postgres; when the log does not go on from there either,
// counting starts over.
func (f *Feeder) diverged(ctx context.Context, same []int, cause error) error {
	flushed, err := shards.Positions(ctx, f.cfg.Home)
	if err != nil {
		return err
	}
	f.stored = nil
	for _, shard := range same {
		if _, err := f.reader.Next(ctx, flushed[shard]); err != nil {
			if isElsewhere(err) {
				return shards.StartOver(ctx, f.cfg.Home, f.cfg.Shards, flushed, err.Error(), f.cfg.Logger)
			}
			return err
		}
		if f.buf == nil {
			continue
		}
		found, err := f.buf.Read(ctx, shard)
		if err != nil {
			return err
		}
		f.cfg.Logger.WarnContext(ctx, "redis has counted what the log has lost, replaying", "shard", shard, "err", cause)
		if _, err := f.buf.Reset(ctx, shard, found.Stamps, buffer.StampOf(flushed[shard])); err != nil {
			return err
		}
	}
	return nil
}

// isElsewhere tells whether the log does not go on from a position.
func isElsewhere(err error) bool {
	return errors.Is(err, eventlog.ErrLost) || errors.Is(err, eventlog.ErrPruned) || errors.Is(err, eventlog.ErrForeign)
}
