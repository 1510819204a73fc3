// Package long marks tests that take more than some 0.8 s of a machine with
// two cores: CI runs them, and `make check`, which is for the time before each commit, does not.
package long

import "testing"

// Test skips the test that calls it where only the quick ones are asked for (go test -short).
func Test(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
}
