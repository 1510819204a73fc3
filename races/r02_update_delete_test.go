package races

import (
	"testing"
)

// TestR02UpdateDelete: a resource is deleted while a job copies it. The job ends
// after the deletion was carried out: if it writes what it has, the row comes
// back, or the file comes back under a row that says it is gone, and nobody will
// ever look at it again. So the deletion is a version like any other, and the
// job is told at its end that its own is not wanted any more.
func TestR02UpdateDelete(t *testing.T) {
	t.Parallel()
	t.Run("twin/row is deleted", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "first")
		n.event(t)
		n.start(t)
		copied := n.copy(t)
		s.remove(t)
		execute(t, s.pool, `DELETE FROM naive`)
		n.publish(t, copied)
		execute(t, s.pool, `INSERT INTO naive VALUES ('`+key+`', 'synced') ON CONFLICT (key) DO UPDATE SET status = 'synced'`)
		if n.status(t) != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%q with %q; want row and file back, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/end without a version", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		// Without the fence in the place, which by itself would save the day.
		h := s.byHand(t)
		h.unfenced = true
		s.put(t, "first")
		run := h.copy(t, h.follow(t))
		s.remove(t)
		tombstone := h.follow(t)
		execute(t, s.pool, `UPDATE casq.registry SET claim = NULL, claim_process = NULL`)
		claim := h.claim(t, tombstone)
		removal := h.begin(t, claim)
		if err := removal.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		execute(t, s.pool, `UPDATE casq.registry SET synced_version = version, claim = NULL, claim_process = NULL`)
		publish(t, run)
		if got := s.row(t).Status; got != "removed" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want a file under a removed row, for that is what goes wrong", got, s.inPlace(t))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		copied := points.stopAt("copy:staged")
		s.work(t, points)
		s.put(t, "first")
		copied.wait(t)
		s.remove(t)
		s.until(t, "the removal's job", func() bool { return s.row(t).Asked })
		if got := s.row(t).Status; got != "removing" {
			t.Errorf("status is %s", got)
		}
		copied.release()
		s.reaches(t, "removed", "")
		if n := points.count("publish:before-rename"); n != 0 {
			t.Errorf("the deleted resource was put in place %d times", n)
		}
	})
	t.Run("ours/at the rename", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		renamed := points.stopAt("publish:renamed")
		s.work(t, points)
		s.put(t, "first")
		renamed.wait(t)
		s.remove(t)
		// The log waits for the row, which the job has locked to the end.
		s.until(t, "the log's wait", func() bool {
			return lines(t, s.pool, `SELECT count(*)::text FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO casq.registry%'`) == "1"
		})
		renamed.release()
		s.reaches(t, "removed", "")
	})
}
