package races

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"casq/jobs"
	"casq/registry"
	"casq/transfer"
)

// TestR07VerifyOfOldContent: a verification of version 1 ends after version 2 is
// in place. Reading takes hours, and what it says then is about bytes that are
// gone. Its success written down anyway says that version 2 was compared, which
// nobody has done; its mismatch has the newest bytes copied once more, and for a
// resource that changes as fast as it is verified, for ever.
func TestR07VerifyOfOldContent(t *testing.T) {
	t.Parallel()
	// replaced is a resource of which version 1 was read, and version 2 is in place.
	// What the reading found is returned.
	replaced := func(t *testing.T, h *hand, corrupt bool) (found error) {
		t.Helper()
		sync := func(token registry.Token) {
			claim := h.claim(t, token)
			run := h.begin(t, claim)
			result, err := run.Copy(t.Context(), claim.Payload)
			if err == nil {
				err = h.registry.Publish(claim, registry.Result(result), run.Publish)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		h.put(t, "first")
		old := h.follow(t)
		sync(old)
		want, err := h.registry.InPlace(t.Context(), old)
		if err != nil {
			t.Fatal(err)
		}
		if corrupt {
			h.overwrite(t, "FIRST")
		}
		found = h.files.Verify(t.Context(), transfer.Place{Key: key}, want.Payload, want.Checksum)
		h.put(t, "second")
		sync(h.follow(t))
		execute(t, h.pool, `UPDATE casq.registry SET verified_at = '2000-01-01'`)
		return found
	}
	const verified = `SELECT (verified_at > '2000-01-01')::text FROM casq.registry`
	t.Run("twin/success without a version", func(t *testing.T) {
		t.Parallel()
		h := newRegistrySite(t).byHand(t)
		if found := replaced(t, h, false); found != nil {
			t.Fatal(found)
		}
		h.overwrite(t, "SECOND") // which whoever looks for what is not verified will not find
		execute(t, h.pool, `UPDATE casq.registry SET verified_at = now() WHERE resource_id = '`+key+`'`)
		if lines(t, h.pool, verified) != "true" {
			t.Error("version 2 does not pass for verified, for that is what goes wrong")
		}
	})
	t.Run("twin/mismatch without a version", func(t *testing.T) {
		t.Parallel()
		h := newRegistrySite(t).byHand(t)
		found := replaced(t, h, true)
		if !errors.Is(found, transfer.ErrMismatch) {
			t.Fatal(found)
		}
		before := h.row(t)
		execute(t, h.pool, `UPDATE casq.registry SET version = nextval('casq.registry_version')`)
		if row := h.row(t); row.Version == before.Version || row.Status != "pending" || h.inPlace(t) != "second" {
			t.Errorf("%+v; want what is right copied again, for that is what goes wrong", row)
		}
	})
	for name, corrupt := range map[string]bool{"success": false, "mismatch": true} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			s, points := newRegistrySite(t), newPoints()
			s.work(t, points)
			s.put(t, "first")
			s.reaches(t, "synced", "first")
			if corrupt {
				s.overwrite(t, "FIRST")
			}
			read := points.stopAt("verify:read")
			s.verify(t)
			read.wait(t)
			s.put(t, "second")
			s.reaches(t, "synced", "second")
			before := s.row(t)
			execute(t, s.pool, `UPDATE casq.registry SET verified_at = '2000-01-01'`)
			read.release()
			s.until(t, "the end of the verification", func() bool { return s.row(t).UnderWay == 0 })
			if row := s.row(t); row.Version != before.Version || row.Status != "synced" {
				t.Errorf("%+v; the old verification has reached version 2", row)
			}
			if lines(t, s.pool, verified) != "false" {
				t.Error("version 2 passes for verified, and nobody has read it")
			}
			s.reaches(t, "synced", "second")
		})
	}
}

// verify asks for what is in place to be compared, as an operator does.
func (s *registrySite) verify(t *testing.T) {
	t.Helper()
	queue, err := jobs.NewQueue(s.pool, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.VerifyOne(t.Context(), s.pool, queue, "artifact", key); err != nil {
		t.Fatal(err)
	}
}

// overwrite changes what is in place behind everybody's back.
func (s *registrySite) overwrite(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.target, key), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
