package counter

import (
	"hash/fnv"

	"casq/eventlog"
)

// Key names a counter.
type Key struct {
	Kind    string
	ScopeID string
}

// shardOf spreads counters over n shards. What it returns is stored with each
// counter: it must never change.
func shardOf(k Key, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.Kind))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(k.ScopeID))
	return int(h.Sum32() % uint32(n)) // n is a small positive number
}

// maxScope is how many bytes a scope has at most. Longer ones count under nothing:
// they are refused where they are written, but a row may have been there before its
// table was tracked. An index takes 2.7 kB, and one that did not fit in stopped the
// flush of its shard, all recounts and pruning.
const maxScope = 1024

// limb is where a sum of sizes is cut in two: 2^40 bytes. Redis adds in 64 bits
// and a sum of sizes may need more; a sum whose lower part is below a limb
// can be added eight million times before that part overflows.
const limb = 1 << 40

// delta is what a batch does to one counter: high*limb + low bytes, and items.
// Of low and high, both have the sign of the sum, or are zero.
type delta struct {
	high, low int64
	items     int64
}

// add sums up without an overflow: each event adds less than 2^23 to high, and
// low is carried over each time.
func (d *delta) add(size, items int64) {
	d.high += size / limb
	d.low += size % limb
	d.items += items
	d.carry()
}

// carry restores the rule of the signs.
func (d *delta) carry() {
	d.high += d.low / limb
	d.low %= limb
	if d.high > 0 && d.low < 0 {
		d.high, d.low = d.high-1, d.low+limb
	}
	if d.high < 0 && d.low > 0 {
		d.high, d.low = d.high+1, d.low-limb
	}
}

// sums are the deltas of one shard.
type sums map[Key]delta

// collapse sums the events up by shard and counter. Events without a scope,
// or with one that is too long, count under nothing. A sum of zero is one, too: see [add].
func collapse(events []eventlog.Event, n int) map[int]sums {
	byShard := make(map[int]sums)
	for i := range events {
		e := &events[i]
		if e.ScopeID == nil || len(*e.ScopeID) > maxScope || e.SizeDelta == 0 && e.ItemDelta == 0 {
			continue
		}
		k := Key{e.Kind, *e.ScopeID}
		shard := shardOf(k, n)
		s := byShard[shard]
		if s == nil {
			s = make(sums)
			byShard[shard] = s
		}
		d := s[k]
		d.add(e.SizeDelta, e.ItemDelta)
		s[k] = d
	}
	return byShard
}
