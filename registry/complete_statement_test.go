package registry_test

import (
	"testing"

	"casq/registry"

	"github.com/google/uuid"
)

// The statement that writes results compares the claim itself: whatever decided
// that the run may write, a run without the claim writes nothing.
func TestCompleteStatementComparesTheClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	c := claim(t, r, b.Create(t, 1, "a"))
	before := b.Row(t, "a")
	for _, try := range []struct {
		id   uuid.UUID
		want int64
	}{{uuid.New(), 0}, {c.ID, 1}} {
		stranger := *c
		stranger.ID = try.id
		tag, err := b.Pool.Exec(t.Context(), registry.ClaimSQL.Complete, registry.CompleteArgs(&stranger)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := tag.RowsAffected(); got != try.want {
			t.Errorf("claim %s wrote %d rows, want %d", try.id, got, try.want)
		}
		if after := b.Row(t, "a"); try.want == 0 && (after.Claim == nil || *after.Claim != *before.Claim || after.Synced != nil) {
			t.Errorf("a stranger has changed the row to %+v", after)
		}
	}
}
