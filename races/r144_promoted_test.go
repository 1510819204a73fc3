package races

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"casq/internal/promote"
	"casq/internal/testing/testdb"
	"casq/transfer/folder"
)

// TestR144Promoted: frozen before a rename while the site is promoted.
//
// A worker of the second site has copied a file, has found its row, its claim and the
// target's mark as they should be, and is stopped one instruction before the rename. The site
// is promoted, with the loss of that file, and the application writes it anew, in its place.
// Then the worker goes on. To take the target's mark away is not enough: it was looked at. What
// the worker is about to rename must be gone, too.
func TestR144Promoted(t *testing.T) {
	t.Parallel()
	t.Run("twin/mark_only", func(t *testing.T) {
		t.Parallel()
		got := playPromoted(t, func(t *testing.T, _ workerSpec, s *site) {
			t.Helper()
			target, err := folder.OpenTarget(s.fileTarget, logTo(t, "twin"))
			if err == nil {
				err = target.Retire([]byte("{}"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := target.Close(); err != nil {
				t.Fatal(err)
			}
		})
		if got != "at the first site" {
			t.Errorf("in place is %q: the late rename did no harm", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		got := playPromoted(t, func(t *testing.T, spec workerSpec, s *site) {
			t.Helper()
			// Nothing is waited for: what the frozen process has in hand is given up for lost.
			result, err := promote.Run(t.Context(), spec.config(logTo(t, "promotion")),
				promote.Options{AcceptLoss: true, Verify: promote.VerifyNone, Wait: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			if lost := result.Report.Kinds[0].Lost(); !result.Promoted || len(lost) != 1 || lost[0] != "a/file" {
				t.Errorf("it is told that %q is lost: %+v", lost, result)
			}
		})
		if got != "by the application" {
			t.Errorf("in place is %q after the thaw", got)
		}
	})
}

// playPromoted returns what is in place in the end.
func playPromoted(t *testing.T, promoted func(t *testing.T, spec workerSpec, s *site)) string {
	t.Helper()
	const key = "a/file"
	s, home := newSite(t), testdb.New(t)
	spec := s.spec("publish:before-rename", syscall.SIGSTOP)
	spec.HomeURL, spec.SourceURL = home.URL, s.url
	s.put(t, key, "at the first site")
	s.exec(t, "SELECT casq.tick(force => true)")
	frozen := startWorker(t, spec)
	frozen.frozen(t)
	here := &site{url: home.URL, pool: home.Pool(t)}
	here.endSessions(t)
	// Half a minute later its sign of life is too old to count.
	here.exec(t, "DELETE FROM casq.workers")

	promoted(t, spec, s)
	at := filepath.Join(s.fileTarget, key)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte("by the application"), 0o600); err != nil {
		t.Fatal(err)
	}
	frozen.thaw(t)
	frozen.stop(t)
	return s.file(t, key)
}
