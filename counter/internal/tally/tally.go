// Package tally sums events up by counter. It is the ground floor of the counters:
// what a counter is called, which shard it is in, and how a sum fits into Redis.
package tally

import (
	"hash/fnv"

	"casq/eventlog"
)

// Key names a counter.
type Key struct {
	Kind    string
	ScopeID string
}

// ShardOf spreads counters over n shards. What it returns is stored with each
// counter: it must never change.
func ShardOf(k Key, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.Kind))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(k.ScopeID))
	return int(h.Sum32() % uint32(n)) // n is a small positive number
}

// All are n shards.
func All(n int) []int {
	shards := make([]int, n)
	for i := range shards {
		shards[i] = i
	}
	return shards
}

// MaxScope is how many bytes a scope has at most. Longer ones count under nothing:
// they are refused where they are written, but a row may have been there before its
// table was tracked. An index takes 2.7 kB, and one that did not fit in stopped the
// flush of its shard, all recounts and pruning.
const MaxScope = 1024

// Limb is where a sum of sizes is cut in two: 2^40 bytes. Redis adds in 64 bits
// and a sum of sizes may need more; a sum whose lower part is below a limb
// can be added eight million times before that part overflows.
const Limb = 1 << 40

// Delta is what a batch does to one counter: High*[Limb] + Low bytes, and items.
// Of Low and High, both have the sign of the sum, or are zero.
type Delta struct {
	High, Low int64
	Items     int64
}

// add sums up without an overflow: each event adds less than 2^23 to High, and
// Low is carried over each time.
func (d *Delta) add(size, items int64) {
	d.High += size / Limb
	d.Low += size % Limb
	d.Items += items
	d.carry()
}

// carry restores the rule of the signs.
func (d *Delta) carry() {
	d.High += d.Low / Limb
	d.Low %= Limb
	if d.High > 0 && d.Low < 0 {
		d.High, d.Low = d.High-1, d.Low+Limb
	}
	if d.High < 0 && d.Low > 0 {
		d.High, d.Low = d.High+1, d.Low-Limb
	}
}

// Sums are the deltas of one shard.
type Sums map[Key]Delta

// Collapse sums the events up by shard, of n, and counter. Events without a scope,
// or with one that is too long, count under nothing. A sum of zero is one, too:
// whatever has had an event has a counter, so that a recount which finds no rows
// for it reads what came after its snapshot.
func Collapse(events []eventlog.Event, n int) map[int]Sums {
	byShard := make(map[int]Sums)
	for i := range events {
		e := &events[i]
		if e.ScopeID == nil || len(*e.ScopeID) > MaxScope || e.SizeDelta == 0 && e.ItemDelta == 0 {
			continue
		}
		k := Key{e.Kind, *e.ScopeID}
		shard := ShardOf(k, n)
		s := byShard[shard]
		if s == nil {
			s = make(Sums)
			byShard[shard] = s
		}
		d := s[k]
		d.add(e.SizeDelta, e.ItemDelta)
		s[k] = d
	}
	return byShard
}
