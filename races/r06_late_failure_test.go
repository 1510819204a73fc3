package races

import (
	"testing"
)

// TestR06LateFailure: a job of an old version fails after a newer one came.
// Perhaps for the very reason that the source has changed. If its failure is
// written to the row, the newer version begins as failed, waits for the
// back-off of a copy that nobody wants any more, and has used up attempts that it
// never made.
func TestR06LateFailure(t *testing.T) {
	t.Parallel()
	t.Run("twin/failure without a version", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		h := s.byHand(t)
		s.put(t, "first")
		token := h.follow(t)
		claim := h.claim(t, token)
		run := h.begin(t, claim)
		s.put(t, "second")
		newer := h.follow(t)
		if _, err := run.Copy(t.Context(), claim.Payload); err == nil {
			t.Fatal("the copy of what has changed did not fail")
		}
		execute(t, s.pool, `UPDATE casq.registry SET failed_version = version, last_error = 'changed at the source',
			attempts = attempts + 1, retry_at = now() + interval '1 hour', claim = NULL, claim_process = NULL`)
		row := s.row(t)
		if row.Status != "failed" || row.Version != newer.Version || row.RetryAt == nil || row.Attempts != 1 {
			t.Errorf("%+v; want the newer version failed before it was tried, for that is what goes wrong", row)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		begun := points.stopAt("begin:made")
		s.work(t, points)
		s.put(t, "first")
		begun.wait(t)
		s.put(t, "second") // the first job will find other bytes than it was told
		s.until(t, "the second job", func() bool { return s.row(t).Asked })
		before := s.row(t)
		claimed := points.stopAt("work:claimed")
		begun.release()
		claimed.wait(t)
		row := s.row(t)
		if row.Failed != nil || row.LastError != nil || row.RetryAt != nil || row.Attempts != 1 || row.Version != before.Version || row.Status != "started" {
			t.Errorf("the failure of the old version reached the new one: %+v", row)
		}
		if n := points.count("copy:staged"); n != 0 {
			t.Errorf("the first job has copied after all")
		}
		claimed.release()
		s.reaches(t, "synced", "second")
		if got := lines(t, s.pool, `SELECT count(*)::text FROM river.river_job WHERE errors IS NOT NULL`); got != "0" {
			t.Errorf("%s jobs are tried again", got)
		}
	})
}
