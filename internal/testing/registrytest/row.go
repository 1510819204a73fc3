package registrytest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Row is a row of the registry, as far as the tests look at it.
type Row struct {
	Version, EventID, Tick int64
	Timeline               int32
	Deleted                bool
	Incarnation            int64
	Payload                string
	Synced, SyncedIn       *int64
	Checksum               *string
	Size                   *int64
	Claim, Process         *uuid.UUID
	Job                    *int64
	Asked                  bool
	Attempts               int
	Failed                 *int64
	LastError              *string
	RetryAt                *time.Time
	Status                 string
}

// Row reads the row of a resource of the test kind.
func (h *Home) Row(t *testing.T, key string) Row {
	t.Helper()
	rows, err := h.Pool.Query(t.Context(), `SELECT r.version, event_id, tick, timeline, r.deleted_at IS NOT NULL, incarnation,
		payload::text, r.synced_version, synced_incarnation, checksum, size, claim, r.claim_process, claim_job, asked,
		r.attempts, failed_version, r.last_error, r.retry_at, status
		FROM casq.registry AS r JOIN casq.registry_status USING (kind, resource_id)
		WHERE r.kind = $1 AND r.resource_id = $2`, Kind, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Row])
	if err != nil {
		t.Fatalf("read row of %q: %v", key, err)
	}
	return r
}
