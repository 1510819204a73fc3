package races

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestR131VanishingRef: main was moved, and beside it refs are created and deleted
// while a copy runs, as those of pipelines or of merge trains are.
//
// Git fetches nothing when one of the names that it is given is not there any more.
// Whoever takes that for "left to the next time", and finds another such name each
// time, ends with success, and with main as it was before: the row says synced, and
// no event will bring what was pushed.
func TestR131VanishingRef(t *testing.T) {
	t.Parallel()
	t.Run("twin/left to the next round", func(t *testing.T) {
		t.Parallel()
		c := newChurn(t)
		mirror := filepath.Join(c.repositoryTarget, theRepository)
		runGit(t, c.repositories, "", "clone", "--quiet", "--mirror", c.dir, mirror)
		old := c.main(t)
		pushed := c.push(t, theRepository, "pushed before the copy", "")
		for range 3 {
			listed := r131Listing(t, c.dir)
			c.turn(t)
			args := []string{"fetch", "--quiet", "--atomic", c.dir}
			for _, name := range slices.Sorted(maps.Keys(listed)) {
				args = append(args, "+"+name+":"+name)
			}
			if out, err := tryGit(t, mirror, "", args...); err == nil || !strings.Contains(out, "couldn't find remote ref") {
				t.Fatalf("the fetch ended with %v: %s", err, out)
			}
		}
		if got := c.main(t); got != old || got == pushed {
			t.Errorf("main is %s; that it is left as it was is what goes wrong", got)
		}
	})
	for name, first := range map[string]bool{"a clone": true, "an update": false} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			c := newChurn(t)
			c.follow(t)
			if !first {
				c.takeOver(t, false, func() { c.untilSynced(t, repositoryKind, theRepository) })
			}
			c.changed(t, repositoryKind, theRepository, func() { c.push(t, theRepository, "pushed before the copy", "") })
			cfg := c.config(t, "worker")
			cfg.Hook = func(point string) {
				if point == "git:listed" {
					c.turn(t)
				}
			}
			w := startLocal(t, cfg)
			c.untilSynced(t, repositoryKind, theRepository)
			w.stop(t)
			c.wantMain(t)
		})
		// The source goes on while the run stands still with its listing.
		t.Run("ours/frozen with a listing/"+name, func(t *testing.T) {
			t.Parallel()
			c := newChurn(t)
			c.follow(t)
			if !first {
				c.takeOver(t, false, func() { c.untilSynced(t, repositoryKind, theRepository) })
			}
			c.changed(t, repositoryKind, theRepository, func() { c.push(t, theRepository, "pushed before the copy", "") })
			frozen := startWorker(t, c.spec("git:listed", syscall.SIGSTOP))
			frozen.frozen(t)
			c.turn(t)
			frozen.thaw(t)
			c.untilSynced(t, repositoryKind, theRepository)
			frozen.stop(t)
			c.wantMain(t)
		})
	}
}

// churn is a site with a repository beside whose main refs come and go.
type churn struct {
	*site
	dir  string // the repository at the source
	turn func(t *testing.T)
}

func newChurn(t *testing.T) *churn {
	t.Helper()
	s := newSite(t)
	c := &churn{site: s, dir: filepath.Join(s.repositories, theRepository)}
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	s.push(t, theRepository, "before", "")
	n := 0
	c.turn = func(t *testing.T) {
		t.Helper()
		var script strings.Builder
		for i := range 3 {
			fmt.Fprintf(&script, "delete refs/short-lived/%d\n", n+i)
			fmt.Fprintf(&script, "create refs/short-lived/%d refs/heads/main\n", n+3+i)
		}
		if out, err := tryGit(t, c.dir, script.String(), "update-ref", "--stdin"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		n += 3
	}
	for i := range 3 {
		runGit(t, c.dir, "", "update-ref", fmt.Sprintf("refs/short-lived/%d", i), "refs/heads/main")
	}
	return c
}

func (c *churn) wantMain(t *testing.T) {
	t.Helper()
	if want, got := runGit(t, c.dir, "", "rev-parse", "refs/heads/main"), c.main(t); got != want {
		t.Errorf("main is %s, and was %s before the copy began", got, want)
	}
}

// r131Listing is what a source has at a moment.
func r131Listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	listed := map[string]string{}
	for line := range strings.Lines(runGit(t, dir, "", "for-each-ref", "--format=%(objectname) %(refname)") + "\n") {
		oid, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		listed[name] = oid
	}
	return listed
}
