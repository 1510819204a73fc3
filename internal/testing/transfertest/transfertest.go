package transfertest

import (
	"errors"
	"testing"

	"casq/internal/testing/expect"

	"github.com/google/uuid"
)

// Must ends the test on an error.
var Must = expect.NoError

// WantError ends the test unless the error is, or wraps, the target.
func WantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// NewClaim is another one each time.
func NewClaim() string { return uuid.NewString() }
