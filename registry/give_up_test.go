package registry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// refusingQueue takes no jobs, as one does for a kind that was taken away.
type refusingQueue struct{ *registrytest.Queue }

func (refusingQueue) Insert(context.Context, pgx.Tx, []registry.Job, bool) error {
	return eventlog.ErrUnknownKind
}

// What a run has to say is refused for good. Its process lives, and would hold
// the claim for as long; so the claim goes, and the row says why.
func TestARefusedEndGivesTheClaimBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t, func(c *registry.Config) { c.Jobs = refusingQueue{b.Queue} })
	later := time.Now().Add(time.Hour)
	for key, end := range map[string]func(*registry.Claim) error{
		"failed":   func(c *registry.Claim) error { _, err := r.Fail(c, errors.New("e"), &later); return err },
		"missing":  func(c *registry.Claim) error { _, err := r.Missing(c, errors.New("e"), later); return err },
		"released": r.Release,
	} {
		token := b.Create(t, int64(len(key)), key)
		c := claim(t, r, token)
		if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, registry.ErrHandedOver) {
			t.Fatal(err)
		}
		if err := end(c); !errors.Is(err, eventlog.ErrUnknownKind) {
			t.Errorf("%s: %v", key, err)
		}
		got := b.Row(t, key)
		if got.Claim != nil || got.Asked || got.Status != "failed" || !strings.HasPrefix(*got.LastError, "the database refused the result: ") || (got.RetryAt == nil) != (key == "released") {
			t.Errorf("%s: %+v", key, got)
		}
	}
	// A newer version is not failed with it; it waits for the next reconcile.
	c := claim(t, r, b.Create(t, 50, "newer"))
	newer := b.Update(t, 51, "newer")
	if _, err := r.Claim(t.Context(), newer, 8); !errors.Is(err, registry.ErrHandedOver) {
		t.Fatal(err)
	}
	if _, err := r.Fail(c, errors.New("e"), nil); !errors.Is(err, eventlog.ErrUnknownKind) {
		t.Error(err)
	}
	if got := b.Row(t, "newer"); got.Claim != nil || got.Status != "pending" || got.LastError != nil {
		t.Errorf("newer: %+v", got)
	}
}

// A result that is refused does not end its run: the copy is there, and its
// worker says that the run failed.
func TestARefusedResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	c := claim(t, r, b.Create(t, 1, "x"))
	good := claim(t, r, b.Create(t, 2, "y"))
	bad, fine := make(chan error, 1), make(chan error, 1)
	go func() { bad <- r.Publish(c, registry.Result{Checksum: "\x00"}, nil) }()
	go func() { fine <- r.Publish(good, registry.Result{Checksum: "sum"}, nil) }()
	if err := receive(t, "the good result", fine); err != nil {
		t.Error(err)
	}
	err := receive(t, "the bad result", bad)
	if err == nil || b.Row(t, "x").Claim == nil {
		t.Fatalf("ended with %v, %+v", err, b.Row(t, "x"))
	}
	if superseded, failErr := r.Fail(c, err, nil); superseded || failErr != nil {
		t.Error(failErr)
	}
	if got := b.Row(t, "x"); got.Claim != nil || got.Status != "failed" || !strings.Contains(*got.LastError, "SQLSTATE 22021") {
		t.Errorf("got %+v", got)
	}
}
