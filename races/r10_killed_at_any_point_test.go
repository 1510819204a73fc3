package races

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The durable steps of a run, in their order. A process that is killed at a
// point has done all that comes before it and nothing that comes after.
var (
	filePoints = []string{
		"work:fetched", // River says that the job runs; nobody has claimed the resource
		"work:claimed",
		"begin:made", // the staging folder is there
		"copy:staged",
		"complete:locked",
		"publish:before-rename",
		"publish:renamed", // in place, and the row does not say so
		"complete:published",
		"complete:committed", // the row says so, and River does not
	}
	removalPoints = []string{
		"work:fetched", "work:claimed", "begin:made", "complete:locked",
		"remove:before-rename", "remove:renamed", "complete:published", "complete:committed",
	}
	// The steps that repositories do in their own way.
	clonePoints   = []string{"copy:staged", "publish:before-rename", "publish:renamed", "complete:committed"}
	updatePoints  = []string{"copy:staged", "git:before-update-ref", "complete:published", "complete:committed"}
	unclonePoints = []string{"remove:before-rename", "remove:renamed", "complete:published", "complete:committed"}
)

// TestR10KilledWithFile: killed at each step of copying and removing a file.
//
// Each time a worker is started for one file, comes to the point, and kills
// itself there. Then one worker is started that knows of nothing. It has to
// find out, by the beats that stand still, what the dead ones had in hand, and
// to do each of it once, and no more than once: the bytes are right, the rows
// say so, and nothing of the dead is left on the disk.
func TestR10KilledWithFile(t *testing.T) {
	t.Parallel()
	t.Run("twin/no_sweep", func(t *testing.T) {
		t.Parallel()
		twinNoSweep(t)
	})
	t.Run("twin/staging_left_alone", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.follow(t)
		s.killWith(t, "copy:staged", fileKind, "a", func() { s.put(t, "a", "bytes") })
		s.takeOver(t, true, func() { s.untilSynced(t, fileKind, "a") })
		if left, _ := filepath.Glob(filepath.Join(s.fileTarget, ".casq", "??", "*")); len(left) != 1 {
			t.Errorf("orphan bytes are %v, want those of the dead worker", left)
		}
	})
	t.Run("twin/status_column", func(t *testing.T) {
		t.Parallel()
		twinStatusColumn(t)
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		playKilledWithFile(t)
	})
}

func playKilledWithFile(t *testing.T) {
	t.Helper()
	s := newSite(t)
	s.follow(t)
	// Each in a folder of its own, which goes with it.
	removed := func(point string) string { return "removed/" + point + "/file" }
	for _, point := range removalPoints {
		s.put(t, removed(point), point)
	}
	s.takeOver(t, false, func() {
		for _, point := range removalPoints {
			s.untilSynced(t, fileKind, removed(point))
		}
	})
	want := map[string]string{}
	for _, point := range filePoints {
		want["copied/"+point] = "bytes of " + point
		s.killWith(t, point, fileKind, "copied/"+point, func() { s.put(t, "copied/"+point, "bytes of "+point) })
	}
	for _, point := range removalPoints {
		s.killWith(t, point, fileKind, removed(point), func() { s.remove(t, removed(point)) })
	}
	s.afterRestart(t, fileKind, int64(len(filePoints)+len(removalPoints)), 2)
	s.wantFiles(t, want)
}

// killWith changes a resource and starts a worker that kills itself at the point
// where it works on that.
func (s *site) killWith(t *testing.T, point, kind, key string, change func()) {
	t.Helper()
	s.changed(t, kind, key, change)
	startWorker(t, s.spec(point, syscall.SIGKILL)).killed(t)
}

// afterRestart starts a worker, waits until everything is done, and looks
// whether it was done once. Of the resources that dead workers had in hand, so
// many were committed and need nothing any more.
func (s *site) afterRestart(t *testing.T, kind string, resources, committed int64) {
	t.Helper()
	started := time.Now()
	worker := startLocal(t, s.config(t, "restarted"))
	s.until(t, "all is done, and all that the dead left is swept", func() bool {
		return s.count(t, `SELECT count(*) FROM casq.registry_status WHERE kind = $1 AND status NOT IN ('synced', 'removed')`, kind) == 0 &&
			s.count(t, "SELECT count(*) FROM casq.processes") == 1
	})
	t.Logf("done %s after the restart, with a claim's time-out of %s", time.Since(started).Round(time.Millisecond), claimTTL)
	worker.stop(t)
	if got, want := worker.times("work:claimed"), resources-committed; got != want {
		t.Errorf("%d runs after the restart, want %d: one for each resource that was not committed", got, want)
	}
	if n := s.count(t, `SELECT count(*) FROM casq.registry WHERE claim IS NOT NULL OR attempts > 2`); n != 0 {
		t.Errorf("%d resources are claimed still, or were tried too often", n)
	}
	if n := s.count(t, `SELECT count(*) FROM river.river_job WHERE state IN ('available', 'scheduled', 'retryable', 'pending')`); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}

// twinNoSweep is our worker, but for one that never takes anybody for dead.
func twinNoSweep(t *testing.T) {
	t.Helper()
	s := newSite(t)
	s.follow(t)
	s.killWith(t, "copy:staged", fileKind, "a", func() { s.put(t, "a", "bytes") })
	cfg := s.config(t, "restarted")
	cfg.ClaimTTL = time.Hour
	startLocal(t, cfg)
	s.put(t, "b", "later")
	s.untilSynced(t, fileKind, "b")
	waiting := s.count(t, `SELECT count(*) FROM river.river_job WHERE args ->> 'resource_id' = 'a' AND state <> 'running'`)
	if status := s.status(t, fileKind, "a"); status != "started" || waiting != 0 {
		t.Errorf("the resource is %s and %d jobs wait for it: it is not stuck", status, waiting)
	}
}

// twinStatusColumn keeps intent, progress and retry in one column, as the
// registry that was replaced did: a run takes what is pending.
func twinStatusColumn(t *testing.T) {
	t.Helper()
	pool := database(t, "CREATE TABLE naive (key text PRIMARY KEY, status text)", "INSERT INTO naive VALUES ('a', 'pending')")
	const take = "UPDATE naive SET status = 'started' WHERE status = 'pending' RETURNING key"
	if got := lines(t, pool, take); got != "a" {
		t.Fatalf("the first run, which is killed now, has %q, want a", got)
	}
	if got := lines(t, pool, take); got != "" {
		t.Errorf("the run after the restart has %q: it is not stuck", got)
	}
}

// TestR10KilledWithRepository: killed at each step of a repository's own.
//
// A clone is staged and exchanged, an update is fetched into the place and
// published by a ref transaction, a removal moves a whole folder. What is left
// of a killed one is lock files and refs as well as staging.
func TestR10KilledWithRepository(t *testing.T) {
	t.Parallel()
	t.Run("twin/staging_left_alone", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.follow(t)
		s.killWith(t, "copy:staged", repositoryKind, "a", func() { s.push(t, "a", "first", "") })
		s.takeOver(t, true, func() { s.untilSynced(t, repositoryKind, "a") })
		if left, _ := filepath.Glob(filepath.Join(s.repositoryTarget, ".casq", "*", "*", "repository")); len(left) != 1 {
			t.Errorf("orphan clones are %v, want that of the dead worker", left)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		playKilledWithRepository(t)
	})
}

func playKilledWithRepository(t *testing.T) {
	t.Helper()
	s := newSite(t)
	s.follow(t)
	cloned, updated, removed := folders("cloned", clonePoints), folders("updated", updatePoints), folders("removed", unclonePoints)
	for _, key := range slices.Concat(updated, removed) {
		s.push(t, key, "first", "")
	}
	s.takeOver(t, false, func() {
		for _, key := range slices.Concat(updated, removed) {
			s.untilSynced(t, repositoryKind, key)
		}
	})
	for i, key := range slices.Concat(cloned, updated) {
		point := slices.Concat(clonePoints, updatePoints)[i]
		s.killWith(t, point, repositoryKind, key, func() { s.push(t, key, point, "") })
	}
	for i, key := range removed {
		s.killWith(t, unclonePoints[i], repositoryKind, key, func() { s.drop(t, key) })
	}
	s.afterRestart(t, repositoryKind, int64(len(cloned)+len(updated)+len(removed)), 3)
	for _, key := range slices.Concat(cloned, updated) {
		s.wantRepository(t, key)
	}
	if got, want := foldersIn(t, s.repositoryTarget), slices.Sorted(slices.Values(slices.Concat(cloned, updated))); !slices.Equal(got, want) {
		t.Errorf("the target has %v, want %v", got, want)
	}
	wantNoStaging(t, s.repositoryTarget)
}

// folders makes a repository's key of each point.
func folders(parent string, points []string) (keys []string) {
	for _, point := range points {
		keys = append(keys, parent+"/"+strings.ReplaceAll(point, ":", "-"))
	}
	return keys
}

// foldersIn lists the folders of the second level, and those of the first that
// are empty.
func foldersIn(t *testing.T, target string) (keys []string) {
	t.Helper()
	parents, err := os.ReadDir(target)
	if err != nil {
		t.Fatal(err)
	}
	for _, parent := range parents {
		if parent.Name() == ".casq" {
			continue // staging is looked at by itself
		}
		inside, err := os.ReadDir(filepath.Join(target, parent.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(inside) == 0 {
			keys = append(keys, parent.Name())
		}
		for _, entry := range inside {
			keys = append(keys, parent.Name()+"/"+entry.Name())
		}
	}
	return keys
}
