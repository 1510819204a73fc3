package replica

import (
	"fmt"
	"testing"
)

// TestSet: a few objects, and more than a few.
func TestSet(t *testing.T) {
	t.Parallel()
	var s set
	for i := range 3 * few {
		object := Object{Namespace: "n", ID: fmt.Sprint(i)}
		if s.has(object) || !s.add(object) || s.add(object) || !s.has(object) {
			t.Fatalf("object %d", i)
		}
	}
	if len(s.list) != 3*few || s.list[few].ID != fmt.Sprint(few) {
		t.Errorf("%d objects: %v", len(s.list), s.list)
	}
}
