package races

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"casq/registry"
)

// TestR04TwoRunsOneToken: the same job runs twice at once. River takes a job for
// stuck and gives it to another worker, while the first run lives. Both have the
// same version and the same job id, so neither tells them apart. One of them may
// have an effect, and the resource must not depend on River's view of the job: that
// is completed by whichever run ends first.
func TestR04TwoRunsOneToken(t *testing.T) {
	t.Parallel()
	t.Run("twin/version only", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		execute(t, s.pool, `ALTER TABLE naive ADD version bigint NOT NULL DEFAULT 1`)
		s.put(t, "first")
		n.event(t)
		// Both have begun. The rescued one is done; then the first one's copy breaks.
		n.publish(t, n.copy(t))
		execute(t, s.pool, `UPDATE naive SET status = 'synced' WHERE version = 1`)
		execute(t, s.pool, `UPDATE naive SET status = 'failed' WHERE version = 1`)
		if n.status(t) != "failed" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want failed with the bytes in place, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/job id", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		execute(t, s.pool, `ALTER TABLE naive ADD job bigint`)
		s.put(t, "first")
		n.event(t)
		staging := filepath.Join(s.target, "job-5")
		begin := func() *os.File {
			// A job that is tried again has to get in, so its own id is let through.
			execute(t, s.pool, `UPDATE naive SET job = 5 WHERE job IS NULL OR job = 5`)
			file, err := os.Create(staging)
			if err != nil {
				t.Fatal(err)
			}
			return file
		}
		first := begin()
		_, err := first.WriteString("first")
		if err = errors.Join(err, first.Close()); err != nil {
			t.Fatal(err)
		}
		second := begin()
		_, err = second.WriteString("fi")
		place := filepath.Join(s.target, key)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(place), 0o755), os.Rename(staging, place), second.Close())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, s.pool, `UPDATE naive SET status = 'synced' WHERE job = 5`)
		if n.status(t) != "synced" || s.inPlace(t) != "fi" {
			t.Errorf("%s with %q; want synced with torn bytes, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("ours/handed over", func(t *testing.T) {
		t.Parallel()
		s, a, b := newRegistrySite(t), newPoints(), newPoints()
		copied := a.stopAt("copy:staged")
		s.work(t, a, slow)
		s.put(t, "first")
		copied.wait(t)
		before := s.row(t)
		s.rescue(t)
		s.work(t, b)
		s.until(t, "the second run's end", func() bool { return s.row(t).Asked && s.row(t).UnderWay == 0 })
		if row := s.row(t); row.Claim == nil || *row.Claim != *before.Claim || row.Attempts != 1 || row.Status != "started" {
			t.Errorf("the second run left a trace: %+v", row)
		}
		copied.release()
		s.reaches(t, "synced", "first")
		if n := a.count("copy:staged") + b.count("copy:staged"); n != 1 {
			t.Errorf("copied %d times, want once", n)
		}
		if row := s.row(t); row.Asked || row.UnderWay != 0 {
			t.Errorf("somebody is still waited for: %+v", row)
		}
	})
	// The second run ends, and with it the job, as far as River knows: the first
	// one's failure then finds no job that would be tried again.
	t.Run("ours/the first one fails", func(t *testing.T) {
		t.Parallel()
		s, a, b := newRegistrySite(t), newPoints(), newPoints()
		begun := a.stopAt("begin:made")
		s.work(t, a, slow)
		s.put(t, "first")
		begun.wait(t)
		s.rescue(t)
		s.work(t, b)
		s.until(t, "the second run's end", func() bool { return s.row(t).Asked && s.row(t).UnderWay == 0 })
		s.write(t, "fjrst")
		begun.release()
		s.until(t, "the failure", func() bool { return s.row(t).Failed != nil })
		s.write(t, "first")
		s.reaches(t, "synced", "first")
	})
	// The first run's process is taken for dead, and the same job claims again.
	t.Run("ours/fenced", func(t *testing.T) {
		t.Parallel()
		s, a := newRegistrySite(t), newPoints()
		copied, ended := a.stopAt("copy:staged"), a.stopAt("complete:committed")
		s.work(t, a, slow)
		s.put(t, "first")
		copied.wait(t)
		token := registry.Token{Kind: "artifact", ResourceID: key, Version: s.row(t).Version}
		job, err := strconv.ParseInt(lines(t, s.pool, `SELECT claim_job::text FROM casq.registry`), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, s.pool, `UPDATE casq.processes SET dead_at = now()`)
		second := s.byHand(t)
		claim, err := second.registry.Claim(t.Context(), token, job)
		if err != nil {
			t.Fatal(err)
		}
		copied.release()
		ended.wait(t)
		if row := s.row(t); row.Claim == nil || *row.Claim != claim.ID || row.Synced != nil || s.inPlace(t) != "" {
			t.Errorf("the first run left a trace: %+v with %q", row, s.inPlace(t))
		}
		ended.release()
		run := second.begin(t, claim)
		if _, err := run.Copy(t.Context(), claim.Payload); err != nil {
			t.Fatal(err)
		}
		if err := second.registry.Publish(claim, registry.Result{}, run.Publish); err != nil {
			t.Error(err)
		}
		if row := s.row(t); row.Status != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%+v with %q", row, s.inPlace(t))
		}
	})
}

// rescue is what River does with a job that it takes for stuck.
func (s *registrySite) rescue(t *testing.T) {
	t.Helper()
	execute(t, s.pool, `UPDATE river.river_job SET state = 'available', scheduled_at = now() WHERE state = 'running'`)
}
