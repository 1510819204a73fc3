package races

import (
	"syscall"
	"testing"

	"casq/jobs"
	"casq/registry"
	"casq/transfer"
)

// TestR142Moved: a kind gets another place, or its end, while a run of it copies.
//
// A worker has copied a file to its staging, or stands one instruction before the
// rename, with the row locked, and is frozen. The kind is moved, or dropped, and the
// worker goes on. It has read where the kind is before: what it puts there must not be
// called synced, and the copies that the move has asked for go to the new place, by the
// very same process.
func TestR142Moved(t *testing.T) {
	t.Parallel()
	synced := func(t *testing.T, h *hand, claim *registry.Claim, run transfer.Run) {
		t.Helper()
		result, err := run.Copy(t.Context(), claim.Payload)
		if err == nil {
			err = h.registry.Publish(claim, registry.Result(result), run.Publish)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := h.registrySite.files(t); h.row(t).Status != "synced" || got["moved/"+key] != "" {
			t.Errorf("%s with %v; want synced with nothing at the new place, for that is what goes wrong", h.row(t).Status, got)
		}
	}
	t.Run("twin/changed by hand", func(t *testing.T) {
		t.Parallel()
		h := newRegistrySite(t).byHand(t)
		h.put(t, "first")
		claim := h.claim(t, h.follow(t))
		run := h.begin(t, claim)
		execute(t, h.pool, `ALTER TABLE casq.kinds DISABLE TRIGGER guard_kind`)
		execute(t, h.pool, `UPDATE casq.kinds SET prefix = 'moved'`)
		synced(t, h, claim, run)
	})
	t.Run("twin/a worker that remembers", func(t *testing.T) {
		t.Parallel()
		h := newRegistrySite(t).byHand(t)
		h.put(t, "first")
		token := h.follow(t)
		if _, err := registry.MoveKind(t.Context(), h.pool, h.queue, fileKind, "moved", registry.MoveOptions{}); err != nil {
			t.Fatal(err)
		}
		token.Version = h.row(t).Version
		claim := h.claim(t, token)
		if claim.Of.Prefix != "moved" {
			t.Errorf("the claim says that the kind is at %q", claim.Of.Prefix)
		}
		synced(t, h, claim, h.begin(t, claim)) // where it was at the start
	})
	for _, at := range []string{"begin:made", "copy:staged", "publish:before-rename", "complete:published"} {
		t.Run("ours/moved/"+at, func(t *testing.T) {
			t.Parallel()
			s, worker := frozenR142(t, at)
			moved := make(chan error, 1)
			go func() { moved <- r142Move(t, s, "moved/to") }()
			if at != "begin:made" && at != "copy:staged" {
				s.endSessions(t) // it has the row's lock
			}
			if err := <-moved; err != nil {
				t.Fatal(err)
			}
			worker.thaw(t)
			for _, key := range []string{"old", "new"} {
				s.untilSynced(t, fileKind, key)
			}
			s.put(t, "later", "third")
			s.untilSynced(t, fileKind, "later")
			for key, want := range map[string]string{"old": "first", "new": "second", "later": "third"} {
				if got := s.file(t, "moved/to/"+key); got != want {
					t.Errorf("%s is synced, and at the new place is %q", key, got)
				}
			}
			if got := s.file(t, "later"); got != "(nothing)" {
				t.Errorf("the worker still copies to the old place: %q", got)
			}
			if got := s.file(t, "new"); got != "(nothing)" && at != "publish:before-rename" && at != "complete:published" {
				t.Errorf("the run has published to the old place: %q", got)
			}
			worker.stop(t)
		})
		t.Run("ours/dropped/"+at, func(t *testing.T) {
			t.Parallel()
			s, worker := frozenR142(t, at)
			s.exec(t, "SELECT casq.untrack(kind => 'artifact')")
			dropped := make(chan error, 1)
			go func() {
				_, err := registry.DropKind(t.Context(), s.pool, fileKind, true, false, nil)
				dropped <- err
			}()
			if at != "begin:made" && at != "copy:staged" {
				s.endSessions(t)
			}
			if err := <-dropped; err != nil {
				t.Fatal(err)
			}
			worker.thaw(t)
			// The same name at another place: nothing of before may meet it.
			s.exec(t, `SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', prefix => 'again', queue => 'again',
				key_column => 'path', scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256'])`)
			s.put(t, "later", "third")
			s.untilSynced(t, fileKind, "later")
			if got := s.file(t, "again/later"); got != "third" {
				t.Errorf("at the new place is %q", got)
			}
			if n := s.count(t, "SELECT count(*) FROM casq.registry WHERE kind = 'artifact'"); n != 1 {
				t.Errorf("the kind has %d rows, want that of what came later", n)
			}
			worker.stop(t)
		})
	}
}

// frozenR142 has "old" in place and a worker frozen at a point of its run for "new".
func frozenR142(t *testing.T, at string) (*site, *process) {
	t.Helper()
	s := newSite(t)
	s.follow(t)
	s.put(t, "old", "first")
	s.takeOver(t, false, func() { s.untilSynced(t, fileKind, "old") })
	worker := startWorker(t, s.spec(at, syscall.SIGSTOP))
	s.put(t, "new", "second")
	worker.frozen(t)
	// All that the log has of the kind was read.
	s.until(t, "new has a row", func() bool { return s.status(t, fileKind, "new") != "none" })
	return s, worker
}

func r142Move(t *testing.T, s *site, prefix string) error {
	t.Helper()
	queue, err := jobs.NewQueue(s.pool, logTo(t, "operator"))
	if err != nil {
		return err
	}
	_, err = registry.MoveKind(t.Context(), s.pool, queue, fileKind, prefix, registry.MoveOptions{PageSize: 1})
	return err
}
