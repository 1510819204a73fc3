package buffer

import (
	"context"
	"fmt"
	"strconv"

	"casq/counter/internal/tally"
)

// Apply adds the deltas of a batch to each of the shards that stand at from, in
// one round trip, and returns the shards that do not. An error leaves it open
// which were changed: read them again. go-redis may have sent a batch twice,
// too: then the shard did not stand there any more.
func (b *Buffer) Apply(ctx context.Context, shards []int, from, to Stamp, deltas map[int]tally.Sums) (elsewhere []int, err error) {
	calls := make([]call, len(shards))
	for i, shard := range shards {
		calls[i] = call{shard, applyArgs(from, to, deltas[shard])}
	}
	for i, reply := range b.pipeline(ctx, ApplyScript, calls) {
		n, replyErr := reply.Int()
		if replyErr != nil {
			err = fmt.Errorf("add to counters of shard %d: %w: %w", shards[i], ErrRedis, replyErr)
		} else if n != 1 {
			elsewhere = append(elsewhere, shards[i])
		}
	}
	return elsewhere, err
}

func applyArgs(from, to Stamp, s tally.Sums) []any {
	args := make([]any, 0, 2+4*len(s))
	args = append(args, string(from), string(to))
	for k, d := range s {
		for _, f := range []struct {
			part string
			n    int64
		}{{lowPart, d.Low}, {highPart, d.High}, {itemsPart, d.Items}} {
			if f.n != 0 || f.part == itemsPart && d == (tally.Delta{}) { // see tally.Collapse
				args = append(args, field(f.part, k), f.n)
			}
		}
	}
	return args
}

// Part is what a flush takes to Postgres: all that came between two stamps. There is
// nothing when they are the same.
type Part struct {
	Base, Head Stamp
	Sums       tally.Sums
	Left       bool // by an earlier flush; what is pending comes after it
}

// Freeze freezes what is pending in a shard, or returns what is frozen already.
// Errors: [ErrNotIntact].
func (b *Buffer) Freeze(ctx context.Context, shard int) (p Part, err error) {
	reply, err := b.run(ctx, FreezeScript, b.Keys(shard))
	if err != nil {
		return p, fmt.Errorf("freeze shard %d: %w", shard, err)
	}
	both, ok := reply.([]any)
	if !ok || len(both) != 2 {
		return p, fmt.Errorf("freeze shard %d: %w", shard, ErrNotIntact)
	}
	p.Left = both[0] == int64(1)
	list, _ := both[1].([]any)
	p.Sums = make(tally.Sums, len(list)/4)
	for i := 0; i+1 < len(list); i += 2 {
		if err := p.take(text(list[i]), text(list[i+1])); err != nil {
			return p, fmt.Errorf("read frozen shard %d: %w", shard, err)
		}
	}
	return p, nil
}

func (p *Part) take(name, value string) error {
	switch name {
	case "@base":
		p.Base = Stamp(value)
		return nil
	case "@head":
		p.Head = Stamp(value)
		return nil
	}
	part, k, ok := split(name)
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("field %q has %q", name, value)
	}
	d := p.Sums[k]
	switch part {
	case lowPart:
		d.Low = n
	case highPart:
		d.High = n
	case itemsPart:
		d.Items = n
	}
	p.Sums[k] = d
	return nil
}

// Drop forgets what was flushed.
func (b *Buffer) Drop(ctx context.Context, shard int, p Part) error {
	if _, err := b.run(ctx, DropScript, b.Keys(shard)[1:], string(p.Base), string(p.Head)); err != nil {
		return fmt.Errorf("drop what was flushed of shard %d: %w", shard, err)
	}
	return nil
}

// Reset empties a shard whose stamps were found to be unfit, unless they are
// others by now. flushed is what Postgres had after they were read: then nothing
// that was flushed meanwhile can be added again.
func (b *Buffer) Reset(ctx context.Context, shard int, found Stamps, flushed Stamp) (emptied bool, err error) {
	reply, err := b.run(ctx, ResetScript, b.Keys(shard),
		string(found.Base), string(found.Head), string(found.FrozenBase), string(found.FrozenHead), string(flushed))
	if err != nil {
		return false, fmt.Errorf("reset shard %d: %w", shard, err)
	}
	return reply == int64(1), nil
}
