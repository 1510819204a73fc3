package tally_test

import (
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"casq/counter/internal/tally"
	"casq/eventlog"

	"pgregory.net/rapid"
)

// A counter's shard is stored in its row, so the spread must never change. It is FNV-1a
// of kind, a zero byte and scope; these were computed by another program.
func TestShardsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	for k, want := range map[tally.Key]int{
		{}:                                   15,
		{Kind: "artifact", ScopeID: "1"}:     8,
		{Kind: "artifact", ScopeID: "2"}:     1,
		{Kind: "artifact", ScopeID: "größe"}: 6,
		{Kind: "artifac", ScopeID: "t1"}:     0,
	} {
		if got := tally.ShardOf(k, 16); got != want {
			t.Errorf("%q is in shard %d, want %d", k, got, want)
		}
	}
}

func TestCollapse(t *testing.T) {
	t.Parallel()
	scope := func(s string) *string { return &s }
	longest := strings.Repeat("x", tally.MaxScope)
	events := []eventlog.Event{
		{Kind: "a", ScopeID: scope("1"), SizeDelta: 5, ItemDelta: 1},
		{Kind: "a", ScopeID: scope("1"), SizeDelta: -2},
		{Kind: "b", ScopeID: scope("1"), SizeDelta: 7, ItemDelta: 1},
		{Kind: "a", ScopeID: scope("zero"), SizeDelta: 5, ItemDelta: 1},
		{Kind: "a", ScopeID: scope("zero"), SizeDelta: -5, ItemDelta: -1},
		{Kind: "a", ScopeID: scope(longest), ItemDelta: 1},
		{Kind: "a", ScopeID: scope(""), ItemDelta: 1},
		// These count under nothing.
		{Kind: "a", SizeDelta: 5, ItemDelta: 1},
		{Kind: "a", ScopeID: scope(longest + "x"), SizeDelta: 5, ItemDelta: 1},
		{Kind: "a", ScopeID: scope("unchanged")},
	}
	want := tally.Sums{
		{Kind: "a", ScopeID: "1"}:     {Low: 3, Items: 1},
		{Kind: "b", ScopeID: "1"}:     {Low: 7, Items: 1},
		{Kind: "a", ScopeID: "zero"}:  {},
		{Kind: "a", ScopeID: longest}: {Items: 1},
		{Kind: "a", ScopeID: ""}:      {Items: 1},
	}
	got := make(tally.Sums)
	for shard, sums := range tally.Collapse(events, 4) {
		for k, d := range sums {
			if at := tally.ShardOf(k, 4); at != shard {
				t.Errorf("%q is summed up in shard %d, want %d", k, shard, at)
			}
			got[k] = d
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("collapsed to %v, want %v", got, want)
	}
}

// Sums are what they are without a limit, however large the sizes; and the two parts
// have one sign, so that a counter which is read half-way never looks like another.
func TestDeltasAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3), rapid.Int64Range(tally.Limb-2, tally.Limb+2), rapid.Int64Range(-tally.Limb-2, -tally.Limb+2))
		var events []eventlog.Event
		want, scope := new(big.Int), "1"
		for _, n := range rapid.SliceOfN(size, 1, 50).Draw(r, "sizes") {
			events = append(events, eventlog.Event{Kind: "a", ScopeID: &scope, SizeDelta: n, ItemDelta: 1})
			want.Add(want, big.NewInt(n))
		}
		d := tally.Collapse(events, 1)[0][tally.Key{Kind: "a", ScopeID: scope}]
		got := new(big.Int).Mul(big.NewInt(d.High), big.NewInt(tally.Limb))
		got.Add(got, big.NewInt(d.Low))
		if got.Cmp(want) != 0 || d.Items != int64(len(events)) {
			r.Fatalf("%+v is %s, want %s in %d", d, got, want, len(events))
		}
		if d.High > 0 && d.Low < 0 || d.High < 0 && d.Low > 0 || d.Low >= tally.Limb || d.Low <= -tally.Limb {
			r.Fatal("its parts do not belong together: ", fmt.Sprintf("%+v", d))
		}
	})
}
