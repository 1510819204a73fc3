package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"casq/transfer"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// What a run says goes into River's table as JSON, which knows no NUL; and
// River still has to see that a failure is for good.
func TestErrorsCanBeStored(t *testing.T) {
	t.Parallel()
	for _, permanent := range []bool{false, true} {
		t.Run(fmt.Sprintf("permanent=%v", permanent), func(t *testing.T) {
			t.Parallel()
			cause := errors.New("remote: aborting\x00; \xff")
			if permanent {
				cause = fmt.Errorf("%w: %w", transfer.ErrBadPayload, cause)
			}
			b := setupWork(t, &mover{copy: func(context.Context) error { return cause }})
			job := &river.Job[SyncArgs]{
				JobRow: &rivertype.JobRow{ID: 5, Attempt: 1, MaxAttempts: 25},
				Args:   SyncArgs{ResourceKind: b.token.Kind, ResourceID: b.token.ResourceID, Version: b.token.Version},
			}

			err := (&runner[SyncArgs]{w: b.worker}).Work(t.Context(), job)

			if !errors.Is(err, cause) {
				t.Fatalf("the run ended with %v", err)
			}
			if _, cancels := errors.AsType[*rivertype.JobCancelError](err); cancels != permanent {
				t.Errorf("it cancels the job: %v", cancels)
			}
			for _, stored := range []struct {
				text string
				ok   bool
			}{{err.Error(), true}, {cause.Error(), false}} {
				text, marshalErr := json.Marshal(stored.text)
				if marshalErr != nil {
					t.Fatal(marshalErr)
				}
				if _, err := b.pool.Exec(t.Context(), "SELECT $1::text::jsonb", string(text)); (err == nil) != stored.ok {
					t.Errorf("store %s: %v", text, err)
				}
			}
		})
	}
}
