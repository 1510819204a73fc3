package file

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// Two copies at once take as long as one of both sizes: the limit is theirs
// together.
func TestCopiesShareTheirRate(t *testing.T) {
	t.Parallel()
	const size, perSecond = 1 << 20, 8 << 20
	b := setup(t, func(c *testConfig) { c.BytesPerSecond = perSecond })
	start := time.Now()
	var copies sync.WaitGroup
	for i := range 4 {
		key := fmt.Sprintf("k%d", i)
		transfertest.Write(t, b.source, key, strings.Repeat("x", size))
		run, err := b.Begin(t.Context(), transfer.Place{Key: key, Claim: transfertest.NewClaim()})
		transfertest.Must(t, err)
		copies.Go(func() {
			if _, err := run.Copy(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if err := run.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	copies.Wait()
	if took := time.Since(start); took < 4*size*time.Second/perSecond {
		t.Errorf("copied in %s, faster than the limit of all", took)
	}
}
