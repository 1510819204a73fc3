package transfertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Stager lists and drops staging.
type Stager interface {
	ListStaging(ctx context.Context, each func(transfer.Staged) error) error
	DropStaging(ctx context.Context, s transfer.Staged) error
}

// Staged is what a transfer has staged, each named once.
func Staged(t *testing.T, l Stager) map[transfer.Staged]bool {
	t.Helper()
	found := map[transfer.Staged]bool{}
	Must(t, l.ListStaging(t.Context(), func(s transfer.Staged) error {
		if found[s] {
			t.Errorf("%v is named twice", s)
		}
		found[s] = true
		return nil
	}))
	return found
}

// Meddle returns the object, which has changed something after the first read.
func Meddle(o transfer.Object, change func()) transfer.Object { return &meddled{o, change} }

type meddled struct {
	transfer.Object
	change func() // nil: it has been called
}

// Read implements io.Reader.
func (m *meddled) Read(p []byte) (int, error) {
	if m.change == nil {
		return m.Object.Read(p)
	}
	n, err := m.Object.Read(p[:1])
	m.change()
	m.change = nil
	return n, err
}

// Wait returns when the condition holds.
func Wait(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if condition() {
			return
		}
	}
	t.Fatal("waited for 10 s in vain")
}

// AwaitRelease returns when what a closed descriptor kept busy is free. A process
// that another test starts has a copy of each descriptor until its exec has closed
// them, which is a moment after the fork has returned here.
func AwaitRelease(t *testing.T, try func() error) {
	t.Helper()
	var err error
	Wait(t, func() bool {
		err = try()
		return !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EWOULDBLOCK)
	})
	Must(t, err)
}

// ErrAny stands for an error that is not one of the package's.
var ErrAny = errors.New("any")

// WantVerdict checks what Verify has said.
func WantVerdict(t *testing.T, err, want error, says string) {
	t.Helper()
	switch {
	case want == nil:
		Must(t, err)
		return
	case errors.Is(want, ErrAny):
		if err == nil || errors.Is(err, transfer.ErrMismatch) || errors.Is(err, transfer.ErrMissing) {
			t.Fatalf("error is %v", err)
		}
	default:
		WantError(t, err, want)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error is %q, want %q in it", err, says)
	}
}

// Walker names what is in place.
type Walker interface {
	Walk(ctx context.Context, prefix, after string, each func(transfer.Placed) error) error
}

// Walked are the keys that a walk names.
func Walked(t *testing.T, w Walker, prefix, after string) (keys []string) {
	t.Helper()
	Must(t, w.Walk(t.Context(), prefix, after, func(p transfer.Placed) error {
		if age := time.Since(p.Changed); age < -time.Minute || age > time.Hour {
			t.Errorf("%s changed at %s", p.Key, p.Changed)
		}
		keys = append(keys, p.Key)
		return nil
	}))
	return keys
}

// WantKeys compares keys, and their order.
func WantKeys(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
