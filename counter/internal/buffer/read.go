package buffer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"casq/counter/internal/tally"
)

// Shard is what a shard in Redis has of some counters.
type Shard struct {
	Stamps
	Pending, Frozen []tally.Delta // in the order of the keys
}

// Read returns the stamps of a shard, and what it has of some counters.
func (b *Buffer) Read(ctx context.Context, shard int, keys ...tally.Key) (s Shard, err error) {
	reply, err := b.run(ctx, ReadScript, b.Keys(shard), fields(keys)...)
	if err != nil {
		return s, fmt.Errorf("read shard %d: %w", shard, err)
	}
	return parseShard(shard, reply)
}

// ReadAll reads the given counters of each shard, in one round trip. The error says
// why some shards are missing.
func (b *Buffer) ReadAll(ctx context.Context, keys map[int][]tally.Key) (found map[int]Shard, err error) {
	calls := make([]call, 0, len(keys))
	for _, shard := range slices.Sorted(maps.Keys(keys)) {
		calls = append(calls, call{shard, fields(keys[shard])})
	}
	found = make(map[int]Shard, len(calls))
	for i, reply := range b.pipeline(ctx, ReadScript, calls) {
		shard := calls[i].shard
		if reply.Err() != nil {
			err = fmt.Errorf("read shard %d: %w: %w", shard, ErrRedis, reply.Err())
			continue
		}
		s, readErr := parseShard(shard, reply.Val())
		if readErr != nil {
			err = readErr
			continue
		}
		found[shard] = s
	}
	return found, err
}

// ReadStamps returns the stamps of several shards. The error says why some are
// missing.
func (b *Buffer) ReadStamps(ctx context.Context, shards []int) (map[int]Stamps, error) {
	none := make(map[int][]tally.Key, len(shards))
	for _, shard := range shards {
		none[shard] = nil
	}
	all, err := b.ReadAll(ctx, none)
	found := make(map[int]Stamps, len(all))
	for shard, s := range all {
		found[shard] = s.Stamps
	}
	return found, err
}

func fields(keys []tally.Key) []any {
	args := make([]any, 0, 3*len(keys))
	for _, k := range keys {
		args = append(args, field(lowPart, k), field(highPart, k), field(itemsPart, k))
	}
	return args
}

func parseShard(shard int, reply any) (s Shard, err error) {
	lists, ok := reply.([]any)
	if !ok || len(lists) != 2 {
		return s, fmt.Errorf("read shard %d: unexpected reply %v", shard, reply)
	}
	var firstErr, secondErr error
	s.Base, s.Head, s.Pending, firstErr = parseList(lists[0])
	s.FrozenBase, s.FrozenHead, s.Frozen, secondErr = parseList(lists[1])
	return s, errors.Join(firstErr, secondErr)
}

func parseList(reply any) (base, head Stamp, deltas []tally.Delta, err error) {
	list, ok := reply.([]any)
	if !ok || len(list)%3 != 2 {
		return "", "", nil, fmt.Errorf("unexpected reply %v", reply)
	}
	for parts := range slices.Chunk(list[2:], 3) {
		var n [3]int64
		for i, v := range parts {
			if s := text(v); s != "" {
				if n[i], err = strconv.ParseInt(s, 10, 64); err != nil {
					return "", "", nil, fmt.Errorf("read a counter: %w", err)
				}
			}
		}
		deltas = append(deltas, tally.Delta{Low: n[0], High: n[1], Items: n[2]})
	}
	return Stamp(text(list[0])), Stamp(text(list[1])), deltas, nil
}

// text is empty for what is missing.
func text(v any) string { s, _ := v.(string); return s }
