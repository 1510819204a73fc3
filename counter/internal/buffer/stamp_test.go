package buffer_test

import (
	"testing"

	"casq/counter/internal/buffer"
)

// A shard continues what Postgres has, or nothing of it counts.
func TestStampsThatFit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stamps     buffer.Stamps
		fits, idle bool
	}{
		"nothing is frozen":           {buffer.Stamps{Base: "a", Head: "b", FrozenBase: "a", FrozenHead: "a"}, true, false},
		"nothing at all":              {buffer.Stamps{Base: "a", Head: "a", FrozenBase: "a", FrozenHead: "a"}, true, true},
		"frozen, not flushed":         {buffer.Stamps{Base: "b", Head: "c", FrozenBase: "a", FrozenHead: "b"}, true, false},
		"frozen, nothing pending":     {buffer.Stamps{Base: "b", Head: "b", FrozenBase: "a", FrozenHead: "b"}, true, false},
		"flushed, not dropped":        {buffer.Stamps{Base: "a", Head: "b", FrozenBase: "older", FrozenHead: "a"}, true, false},
		"pending begins elsewhere":    {buffer.Stamps{Base: "c", Head: "d", FrozenBase: "a", FrozenHead: "b"}, false, false},
		"Postgres is elsewhere":       {buffer.Stamps{Base: "c", Head: "d", FrozenBase: "b", FrozenHead: "c"}, false, false},
		"empty":                       {buffer.Stamps{}, false, true},
		"pending was evicted":         {buffer.Stamps{FrozenBase: "a", FrozenHead: "a"}, false, true},
		"frozen was evicted":          {buffer.Stamps{Base: "a", Head: "a"}, false, true},
		"pending has lost its end":    {buffer.Stamps{Base: "a", FrozenBase: "a", FrozenHead: "a"}, false, false},
		"frozen has lost where it is": {buffer.Stamps{Base: "a", Head: "a", FrozenHead: "a"}, false, false},
	} {
		if got := c.stamps.Fits("a"); got != c.fits {
			t.Errorf("%s: fits %t, want %t", name, got, c.fits)
		}
		if got := c.stamps.Idle(); got != c.idle {
			t.Errorf("%s: idle %t, want %t", name, got, c.idle)
		}
	}
	if (buffer.Stamps{}).Fits("") {
		t.Error("an empty shard fits a missing position")
	}
}
