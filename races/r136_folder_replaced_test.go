package races

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestR136FolderReplaced: the target's name leads to another folder, while a run
// is at work.
//
// A worker has begun a run in the target, has locked the row, has looked for the last
// time whether the folder still has its name, and is stopped one instruction before
// the rename. The folder is moved away and an empty one made; or a link is switched to
// a copy of it; or something is mounted over it. Then the worker goes on. Where
// everybody looks now there are no bytes: the row must not say synced. The worker
// works on where the mark says that it is the target, and waits, not ready, where
// there is none, until the folder is back.
func TestR136FolderReplaced(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(*testing.T, *r136Site){
		"moved and made anew": func(t *testing.T, s *r136Site) { t.Helper(); s.moveAway(t) },
		"link switched":       func(t *testing.T, s *r136Site) { t.Helper(); s.switchLink(t) },
		"mounted over":        func(t *testing.T, s *r136Site) { t.Helper(); s.mountOver(t) },
	} {
		t.Run("twin/held by handle/"+name, func(t *testing.T) {
			t.Parallel()
			s := playR136(t, true, replace)
			s.untilSynced(t, fileKind, "new")
			if got := s.file(t, "new"); got != "(nothing)" {
				t.Errorf("in place is %q: holding the handle did no harm", got)
			}
		})
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			s := playR136(t, false, replace)
			if s.putBack != nil {
				s.until(t, "it is told", func() bool { return strings.Contains(s.readyz(t), "another folder has the name") })
				s.until(t, "the run fails", func() bool { return s.status(t, fileKind, "new") == "failed" })
				s.remove(t, "old")
				s.until(t, "the removal fails", func() bool { return s.count(t, r136Failed, "old") == 1 })
				if entries, err := os.ReadDir(s.fileTarget); err != nil || len(entries) > 0 {
					t.Errorf("the other folder has got %v (%v)", entries, err)
				}
				s.putBack(t)
			} else {
				s.remove(t, "old")
			}
			s.until(t, "old is removed", func() bool { return s.status(t, fileKind, "old") == "removed" })
			s.untilSynced(t, fileKind, "new")
			s.fileTarget, _ = filepath.EvalSymlinks(s.fileTarget)
			s.wantFiles(t, map[string]string{"new": "bytes"})
			s.until(t, "it is ready", func() bool { return strings.Contains(s.readyz(t), `"ready":true`) })
		})
	}
}

const r136Failed = `SELECT count(*) FROM casq.registry WHERE resource_id = $1 AND deleted_at IS NOT NULL
	AND last_error LIKE '%another folder has the name%'`

type r136Site struct {
	*site
	real    string // where the target's name, a link, leads
	worker  *process
	putBack func(t *testing.T) // the target; nil: another folder is as good
}

// playR136 has a worker frozen before the rename of "new", with "old" in place,
// and lets it go on in a target that was replaced.
func playR136(t *testing.T, byHandle bool, replace func(*testing.T, *r136Site)) *r136Site {
	t.Helper()
	s := &r136Site{site: newSite(t)}
	s.real = s.fileTarget + ".real"
	for _, err := range []error{os.Rename(s.fileTarget, s.real), os.Symlink(s.real, s.fileTarget)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.follow(t)
	s.put(t, "old", "was there")
	s.takeOver(t, false, func() { s.untilSynced(t, fileKind, "old") })
	spec := s.spec("publish:before-rename", syscall.SIGSTOP)
	spec.ByHandle, spec.HTTPAddr = byHandle, "127.0.0.1:0"
	s.worker = startWorker(t, spec)
	s.put(t, "new", "bytes")
	s.worker.frozen(t)
	replace(t, s)
	s.worker.thaw(t)
	return s
}

func (s *r136Site) moveAway(t *testing.T) {
	t.Helper()
	moved := s.real + ".moved"
	for _, err := range []error{os.Rename(s.real, moved), os.Mkdir(s.real, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.putBack = func(t *testing.T) {
		t.Helper()
		// The worker may be looking for staging just now, but makes nothing here.
		for _, err := range []error{os.Remove(s.real), os.Rename(moved, s.real)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (s *r136Site) switchLink(t *testing.T) {
	t.Helper()
	other := s.real + ".copy"
	if err := os.CopyFS(other, os.DirFS(s.real)); err != nil {
		t.Fatal(err)
	}
	next := s.fileTarget + ".next"
	for _, err := range []error{os.Symlink(other, next), os.Rename(next, s.fileTarget)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s *r136Site) mountOver(t *testing.T) {
	t.Helper()
	err := unix.Mount("tmpfs", s.real, "tmpfs", 0, "size=64k")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("mounting is not permitted here; the other cases are played")
	}
	if err != nil {
		t.Fatal(err)
	}
	mounted := true
	unmount := func(t *testing.T) {
		t.Helper()
		if !mounted {
			return
		}
		mounted = false
		if err := unix.Unmount(s.real, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}
	t.Cleanup(func() { unmount(t) })
	s.putBack = unmount
}

var r136Listening = regexp.MustCompile(`msg=listening.* addr=(\S+)`)

func (s *r136Site) readyz(t *testing.T) string {
	t.Helper()
	found := r136Listening.FindStringSubmatch(s.worker.log.String())
	if found == nil {
		return ""
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+found[1]+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestR136SourceReplaced: the source is moved away and made anew under a worker.
//
// The new source has the next version of a file, and the row says so. Who holds the
// source by the handle of the start reads the old bytes for ever: the version is
// refused by its sum, or, where nobody has told a sum, synced with the old bytes.
func TestR136SourceReplaced(t *testing.T) {
	t.Parallel()
	t.Run("twin/held by handle", func(t *testing.T) {
		t.Parallel()
		s := playR136Source(t, true)
		s.until(t, "it is refused", func() bool {
			return s.count(t, "SELECT count(*) FROM casq.registry WHERE resource_id = 'a' AND last_error LIKE 'changed at the source%'") == 1
		})
		if got := s.file(t, "a"); got != "first" {
			t.Errorf("in place is %q: holding the handle did no harm", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := playR136Source(t, false)
		s.untilSynced(t, fileKind, "a")
		s.wantFiles(t, map[string]string{"a": "second, and longer"})
	})
}

func playR136Source(t *testing.T, byHandle bool) *site {
	t.Helper()
	s := newSite(t)
	s.follow(t)
	s.put(t, "a", "first")
	spec := s.spec("", 0)
	if byHandle {
		if err := spec.hold(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := spec.config(logTo(t, "worker"))
	cfg.ClaimTTL, cfg.PublishTimeout = claimTTL, 0
	startLocal(t, cfg)
	s.untilSynced(t, fileKind, "a")
	if err := os.Rename(s.files, filepath.Join(filepath.Dir(s.files), "moved")); err != nil {
		t.Fatal(err)
	}
	s.changed(t, fileKind, "a", func() { s.put(t, "a", "second, and longer") })
	return s
}
