package worker

import (
	"fmt"
	"testing"
	"time"

	"casq/internal/testing/await"
)

// health is the sentence, as home has it.
func (b *testBundle) health(t *testing.T) (sentence string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT casq.health_sentence()").Scan(&sentence); err != nil {
		t.Fatal(err)
	}
	return sentence
}

// untilHealthy waits until the site says that it is well.
func (b *testBundle) untilHealthy(t *testing.T) {
	t.Helper()
	await.Nil(t, 20*time.Second, "health", func() error {
		if got := b.health(t); got != "ok" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// A site that is well says so, with something to do and without.
func TestHealthOfASiteThatIsWell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.untilHealthy(t)
	b.put(t, "a/b", "text")
	b.until(t, "a/b", func() bool { return b.inPlace("a/b", "text") })
	b.untilHealthy(t)
}
