package counter

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed apply.lua
	applyLua string
	//go:embed freeze.lua
	freezeLua string
	//go:embed drop.lua
	dropLua string
	//go:embed reset.lua
	resetLua string
	//go:embed read.lua
	readLua string

	applyScript  = redis.NewScript(applyLua)
	freezeScript = redis.NewScript(freezeLua)
	dropScript   = redis.NewScript(dropLua)
	resetScript  = redis.NewScript(resetLua)
	readScript   = redis.NewScript(readLua)
)

// errNotIntact says that keys of a shard are missing, or do not belong together.
var errNotIntact = errors.New("the shard in redis is not intact")

// buffer is what Redis has of the counters: per shard, the deltas of the events
// between two stamps. frozen begins at the stamp that Postgres has, or ends
// there if its flush has committed; pending begins where frozen ends.
//
//	Postgres          frozen              pending
//	--------> @base ---------> @head = @base ---------> @head
//
// Both keys always exist and carry their stamps, so that one that was evicted,
// or comes from an older dump, is noticed.
type buffer struct {
	redis redis.UniversalClient
	// namespace is that of the home database, so that two of them can share a
	// Redis.
	namespace string
}

// keys of a shard: one hash slot on a cluster.
func (b *buffer) keys(shard int) []string {
	tag := fmt.Sprintf("casq:{%s:counters:%d}", b.namespace, shard)
	return []string{tag + ":pending", tag + ":frozen"}
}

// Fields of a counter: bytes below a limb, limbs, items.
const (
	lowField   = "s"
	highField  = "S"
	itemsField = "i"
)

func field(part string, k Key) string { return part + k.Kind + "\x00" + k.ScopeID }

// split is the inverse of field.
func split(name string) (part string, k Key, ok bool) {
	if name == "" || name[0] == '@' {
		return "", Key{}, false
	}
	kind, scope, found := strings.Cut(name[1:], "\x00")
	return name[:1], Key{kind, scope}, found
}

// stamps are what a shard in Redis says of itself; empty: missing.
type stamps struct {
	base, head             stamp // of pending
	frozenBase, frozenHead stamp
}

// fits tells whether the shard is intact, and continues what Postgres has.
func (s stamps) fits(flushed stamp) bool {
	return s.base != "" && s.head != "" && s.frozenHead == s.base && s.frozenBase != "" &&
		(s.frozenBase == flushed || s.frozenHead == flushed)
}

// idle tells that there is nothing to flush.
func (s stamps) idle() bool { return s.base == s.head && s.frozenBase == s.frozenHead }

// shardRead is what a shard in Redis has of some fields.
type shardRead struct {
	stamps
	pending, frozen []int64
}

// read returns the stamps of a shard and what it has of some fields.
func (b *buffer) read(ctx context.Context, shard int, fields ...string) (s stamps, pending, frozen []int64, err error) {
	reply, err := run(ctx, b.redis, readScript, b.keys(shard), anys(fields)...)
	if err != nil {
		return s, nil, nil, fmt.Errorf("read shard %d: %w", shard, err)
	}
	l, err := parseShard(shard, reply)
	return l.stamps, l.pending, l.frozen, err
}

// readAll reads the given fields of each shard, in one round trip. The error says why
// some shards are missing.
func (b *buffer) readAll(ctx context.Context, fields map[int][]string) (found map[int]shardRead, err error) {
	calls := make([]call, 0, len(fields))
	for _, shard := range slices.Sorted(maps.Keys(fields)) {
		calls = append(calls, call{shard, anys(fields[shard])})
	}
	found = make(map[int]shardRead, len(calls))
	for i, reply := range b.pipeline(ctx, readScript, calls) {
		shard := calls[i].shard
		if reply.Err() != nil {
			err = fmt.Errorf("read shard %d: %w: %w", shard, errRedis, reply.Err())
			continue
		}
		l, readErr := parseShard(shard, reply.Val())
		if readErr != nil {
			err = readErr
			continue
		}
		found[shard] = l
	}
	return found, err
}

// readStamps returns the stamps of several shards. The error says why some are
// missing.
func (b *buffer) readStamps(ctx context.Context, shards []int) (map[int]stamps, error) {
	fields := make(map[int][]string, len(shards))
	for _, shard := range shards {
		fields[shard] = nil
	}
	all, err := b.readAll(ctx, fields)
	found := make(map[int]stamps, len(all))
	for shard, l := range all {
		found[shard] = l.stamps
	}
	return found, err
}

func anys(list []string) []any {
	args := make([]any, len(list))
	for i := range list {
		args[i] = list[i]
	}
	return args
}

func parseShard(shard int, reply any) (l shardRead, err error) {
	lists, ok := reply.([]any)
	if !ok || len(lists) != 2 {
		return l, fmt.Errorf("read shard %d: unexpected reply %v", shard, reply)
	}
	var firstErr, secondErr error
	l.base, l.head, l.pending, firstErr = readList(lists[0])
	l.frozenBase, l.frozenHead, l.frozen, secondErr = readList(lists[1])
	return l, errors.Join(firstErr, secondErr)
}

func readList(reply any) (base, head stamp, values []int64, err error) {
	list, ok := reply.([]any)
	if !ok || len(list) < 2 {
		return "", "", nil, fmt.Errorf("unexpected reply %v", reply)
	}
	text := func(v any) string { s, _ := v.(string); return s }
	for _, v := range list[2:] {
		n := int64(0)
		if s := text(v); s != "" {
			if n, err = strconv.ParseInt(s, 10, 64); err != nil {
				return "", "", nil, fmt.Errorf("read a counter: %w", err)
			}
		}
		values = append(values, n)
	}
	return stamp(text(list[0])), stamp(text(list[1])), values, nil
}

// apply adds the deltas of a batch to each of the shards that stand at from, in
// one round trip, and returns the shards that do not. An error leaves it open
// which were changed: read them again. go-redis may have sent a batch twice,
// too: then the shard did not stand there any more.
func (b *buffer) apply(ctx context.Context, shards []int, from, to stamp, deltas map[int]sums) (elsewhere []int, err error) {
	calls := make([]call, len(shards))
	for i, shard := range shards {
		calls[i] = call{shard, applyArgs(from, to, deltas[shard])}
	}
	for i, reply := range b.pipeline(ctx, applyScript, calls) {
		n, replyErr := reply.Int()
		if replyErr != nil {
			err = fmt.Errorf("add to counters of shard %d: %w: %w", shards[i], errRedis, replyErr)
		} else if n != 1 {
			elsewhere = append(elsewhere, shards[i])
		}
	}
	return elsewhere, err
}

func applyArgs(from, to stamp, s sums) []any {
	args := make([]any, 0, 2+4*len(s))
	args = append(args, string(from), string(to))
	for k, d := range s {
		for _, f := range []struct {
			part string
			n    int64
		}{{lowField, d.low}, {highField, d.high}, {itemsField, d.items}} {
			if f.n != 0 || f.part == itemsField && d == (delta{}) { // see add
				args = append(args, field(f.part, k), f.n)
			}
		}
	}
	return args
}

// frozenPart is what a flush takes to Postgres.
type frozenPart struct {
	base, head stamp
	sums       sums
	left       bool // by an earlier flush; what is pending comes after it
}

// freeze freezes what is pending in a shard, or returns what is frozen already.
// base = head says that there is nothing.
func (b *buffer) freeze(ctx context.Context, shard int) (f frozenPart, err error) {
	reply, err := run(ctx, b.redis, freezeScript, b.keys(shard))
	if err != nil {
		return f, fmt.Errorf("freeze shard %d: %w", shard, err)
	}
	both, ok := reply.([]any)
	if !ok || len(both) != 2 {
		return f, fmt.Errorf("freeze shard %d: %w", shard, errNotIntact)
	}
	f.left = both[0] == int64(1)
	list, _ := both[1].([]any)
	f.sums = make(sums, len(list)/4)
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		value, _ := list[i+1].(string)
		if err := f.take(name, value); err != nil {
			return f, fmt.Errorf("read frozen shard %d: %w", shard, err)
		}
	}
	return f, nil
}

func (f *frozenPart) take(name, value string) error {
	switch name {
	case "@base":
		f.base = stamp(value)
		return nil
	case "@head":
		f.head = stamp(value)
		return nil
	}
	part, k, ok := split(name)
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("field %q has %q", name, value)
	}
	d := f.sums[k]
	switch part {
	case lowField:
		d.low = n
	case highField:
		d.high = n
	case itemsField:
		d.items = n
	}
	f.sums[k] = d
	return nil
}

// drop forgets what was flushed.
func (b *buffer) drop(ctx context.Context, shard int, f frozenPart) error {
	if _, err := run(ctx, b.redis, dropScript, b.keys(shard)[1:], string(f.base), string(f.head)); err != nil {
		return fmt.Errorf("drop what was flushed of shard %d: %w", shard, err)
	}
	return nil
}

// reset empties a shard whose stamps were found to be unfit, unless they are
// others by now. flushed is what Postgres had after they were read: then nothing
// that was flushed meanwhile can be added again.
func (b *buffer) reset(ctx context.Context, shard int, found stamps, flushed stamp) (emptied bool, err error) {
	reply, err := run(ctx, b.redis, resetScript, b.keys(shard),
		string(found.base), string(found.head), string(found.frozenBase), string(found.frozenHead), string(flushed))
	if err != nil {
		return false, fmt.Errorf("reset shard %d: %w", shard, err)
	}
	return reply == int64(1), nil
}
