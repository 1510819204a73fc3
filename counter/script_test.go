package counter

import "testing"

// The scripts refuse what does not fit. Without that values would still be right
// in the end, for a shard that is not intact is replayed; it would just never rest.
func TestScriptsChangeNothingThatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	buf := &buffer{redis: b.redis, namespace: "scripts"}
	one := map[int]sums{0: {Key{"artifact", "7"}: {low: 5, items: 1}}}
	apply := func(from, to stamp) bool {
		t.Helper()
		elsewhere, err := buf.apply(ctx, []int{0}, from, to, one)
		if err != nil {
			t.Fatal(err)
		}
		return len(elsewhere) == 0
	}
	if err := errOf(buf.reset(ctx, 0, stamps{}, "a")); err != nil {
		t.Fatal(err)
	}
	if !apply("a", "b") {
		t.Fatal("nothing was added")
	}
	first, err := buf.freeze(ctx, 0)
	if err != nil || first.base != "a" || first.head != "b" {
		t.Fatalf("froze %v, %v", first, err)
	}
	if !apply("b", "c") {
		t.Fatal("nothing was added")
	}
	// What is frozen stays so until it is dropped, by whoever names it.
	if again, err := buf.freeze(ctx, 0); err != nil || again.base != "a" || again.head != "b" {
		t.Errorf("froze %v over what was frozen, %v", again, err)
	}
	if err := buf.drop(ctx, 0, frozenPart{base: "older", head: "a"}); err != nil {
		t.Fatal(err)
	}
	if s, _, _, err := buf.read(ctx, 0); err != nil || s.frozenBase != "a" || s.frozenHead != "b" {
		t.Errorf("a late drop left %v, %v", s, err)
	}
	// Nothing is added to a shard whose halves do not belong together.
	if err := b.redis.HSet(ctx, buf.keys(0)[1], "@head", "other").Err(); err != nil {
		t.Fatal(err)
	}
	if apply("c", "d") {
		t.Error("it added to a shard that is not intact")
	}
}

func errOf(_ bool, err error) error { return err }
