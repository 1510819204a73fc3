package buffer_test

import (
	"testing"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/internal/testing/testredis"
)

// The scripts refuse what does not fit. Without that values would still be right
// in the end, for a shard that is not intact is replayed; it would just never rest.
func TestScriptsChangeNothingThatDoesNotFit(t *testing.T) {
	t.Parallel()
	client := testredis.Client(t, testredis.Start(t))
	ctx := t.Context()
	buf := buffer.New(client, "scripts")
	one := map[int]tally.Sums{0: {tally.Key{Kind: "artifact", ScopeID: "7"}: {Low: 5, Items: 1}}}
	apply := func(from, to buffer.Stamp) bool {
		t.Helper()
		elsewhere, err := buf.Apply(ctx, []int{0}, from, to, one)
		if err != nil {
			t.Fatal(err)
		}
		return len(elsewhere) == 0
	}
	if err := errOf(buf.Reset(ctx, 0, buffer.Stamps{}, "a")); err != nil {
		t.Fatal(err)
	}
	if !apply("a", "b") {
		t.Fatal("nothing was added")
	}
	first, err := buf.Freeze(ctx, 0)
	if err != nil || first.Base != "a" || first.Head != "b" {
		t.Fatalf("froze %v, %v", first, err)
	}
	if !apply("b", "c") {
		t.Fatal("nothing was added")
	}
	// What is frozen stays so until it is dropped, by whoever names it.
	if again, err := buf.Freeze(ctx, 0); err != nil || again.Base != "a" || again.Head != "b" {
		t.Errorf("froze %v over what was frozen, %v", again, err)
	}
	if err := buf.Drop(ctx, 0, buffer.Part{Base: "older", Head: "a"}); err != nil {
		t.Fatal(err)
	}
	if s, err := buf.Read(ctx, 0); err != nil || s.FrozenBase != "a" || s.FrozenHead != "b" {
		t.Errorf("a late drop left %v, %v", s, err)
	}
	// Nothing is added to a shard whose halves do not belong together.
	if err := client.HSet(ctx, buf.Keys(0)[1], "@head", "other").Err(); err != nil {
		t.Fatal(err)
	}
	if apply("c", "d") {
		t.Error("it added to a shard that is not intact")
	}
}

func errOf(_ bool, err error) error { return err }
