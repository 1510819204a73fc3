package bucket

import (
	"testing"

	"casq/internal/testing/transfertest"
)

func TestWalkThroughABucket(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	for _, key := range []string{"p/a/b", "p/a-b", "q"} {
		transfertest.Write(t, b.source, key, "bytes")
		_, err := b.sync(t, key, "{}")
		transfertest.Must(t, err)
	}
	b.begin(t, "r") // which leaves a mark
	transfertest.WantKeys(t, transfertest.Walked(t, b, "", ""), "p/a-b", "p/a/b", "q")
	transfertest.WantKeys(t, transfertest.Walked(t, b, "p", "a-b"), "a/b")
}
