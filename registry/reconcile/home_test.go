package reconcile

import (
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/registrytest"
)

// testBundle is a home, with what these tests add to it.
type testBundle struct{ *registrytest.Home }

func setup(t *testing.T) *testBundle {
	t.Helper()
	return &testBundle{registrytest.New(t)}
}

// kind is the one that most tests use.
const kind = registrytest.Kind

// Words of the tests.
var (
	event  = registrytest.Event
	scoped = registrytest.Scoped
	at     = registrytest.Position
	jobFor = registrytest.JobFor
	claim  = registrytest.Claim
)

// deadline is for what should take milliseconds.
const deadline = 20 * time.Second

// receive waits for a signal.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	return await.Value(t, deadline, what, c)
}

// until polls for a condition.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, deadline, what, met)
}
