// Package expect has what tests expect of errors.
package expect

import "testing"

// NoError ends a test that has met an error.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
