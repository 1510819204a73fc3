package git

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func looseRefs(t testing.TB, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "refs"), func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLooseRefsArePacked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.looseRefs = 20
	dir := b.newSource(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	b.mustSync(t, "r.git")
	var script strings.Builder
	for i := range 25 {
		fmt.Fprintf(&script, "create refs/merge-requests/%d/head refs/heads/main\n", i)
	}
	updateRefs(t, dir, script.String())
	b.mustSync(t, "r.git")
	if n := looseRefs(t, place); n < 25 {
		t.Fatalf("%d refs are loose, so there is nothing to see", n)
	}
	transfertest.Git(t, dir, "update-ref", "refs/merge-requests/3/head", transfertest.Commit(t, dir, "refs/heads/main", "two"))
	transfertest.Git(t, dir, "update-ref", "-d", "refs/merge-requests/4/head")
	b.mustSync(t, "r.git")
	if n := looseRefs(t, place); n > 3 {
		t.Errorf("%d refs are loose", n)
	}
}

// What no ref reaches goes with the first copy after its time, and when there is
// none, a verification asks for one.
func TestWhatTheSourceHasPrunedGoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	b.mustSync(t, "r.git")
	secret := transfertest.Commit(t, dir, "refs/heads/topic", "a secret")
	b.mustSync(t, "r.git")
	transfertest.Git(t, dir, "branch", "-D", "topic")
	transfertest.Git(t, dir, "gc", "--quiet", "--prune=now")
	b.mustSync(t, "r.git")
	has := func() bool { _, err := transfertest.TryGit(place, "cat-file", "-e", secret); return err == nil }
	transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""))
	b.mustSync(t, "r.git")
	if !has() {
		t.Fatal("it went before its time")
	}
	long := time.Now().Add(-unreachableFor - time.Hour)
	transfertest.Must(t, os.Chtimes(filepath.Join(place, packedName), long, long))
	transfertest.WantVerdict(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""), transfer.ErrMismatch, secret)
	before := inode(t, place)
	b.mustSync(t, "r.git")
	if has() || inode(t, place) != before {
		t.Errorf("there: %v; the same mirror: %v", has(), inode(t, place) == before)
	}
	transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""))
	// Nothing that no ref reaches: nothing to do, however long it was.
	transfertest.Must(t, os.Chtimes(filepath.Join(place, packedName), long, long))
	transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""))
}

// A mirror that turns out to be damaged while it is tidied up is cloned.
func TestTidyingFindsDamage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.unreachable = -time.Hour
	dir := b.newSource(t, "r.git")
	transfertest.Commit(t, dir, "refs/heads/main", strings.Repeat("long ", 10_000))
	b.mustSync(t, "r.git")
	packs, err := filepath.Glob(b.target + "/r.git/objects/pack/*.pack")
	transfertest.Must(t, err)
	content, err := os.ReadFile(packs[0])
	transfertest.Must(t, err)
	content[len(content)/2] ^= 0xff
	transfertest.Must(t, os.Chmod(packs[0], 0o644))
	transfertest.Must(t, os.WriteFile(packs[0], content, 0o444))
	if result := b.mustSync(t, "r.git"); result.Partial {
		t.Errorf("got %+v", result)
	}
}

// What goes wrong, as where the disk is too full for it, is not done again by each
// copy.
func TestTidyingRestsAfterAFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.unreachable = -time.Hour
	dir := b.newSource(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	b.mustSync(t, "r.git")
	tried := filepath.Join(t.TempDir(), "tried")
	wrapper := filepath.Join(t.TempDir(), "git")
	script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' repack '*) echo x >> %s; exit 1;; esac\nexec %s \"$@\"\n", tried, b.git.path)
	transfertest.WriteProgram(t, wrapper, script)
	b.git.path, b.git.confined = wrapper, nil
	tries := func(want int) {
		t.Helper()
		transfertest.Commit(t, dir, "refs/heads/main", fmt.Sprint(want))
		b.mustSync(t, "r.git")
		content, err := os.ReadFile(tried)
		if n := strings.Count(string(content), "x"); err != nil || n != want {
			t.Errorf("%d tries, want %d: %v", n, want, err)
		}
	}
	tries(1)
	tries(1)
	long := time.Now().Add(-restFor - time.Hour)
	transfertest.Must(t, os.Chtimes(filepath.Join(place, untidyName), long, long))
	tries(2)
	tries(2)
}

// BenchmarkUpdates is what each of many updates of one mirror costs. With
// -benchtime=1000x it tells whether the last ones cost more than the first.
func BenchmarkUpdates(b *testing.B) {
	source, target := b.TempDir(), b.TempDir()
	r, err := Open(b.Context(), Config{SourceURL: source, TargetDir: target})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	dir, place := filepath.Join(source, "r.git"), filepath.Join(target, "r.git")
	git := func(args ...string) string {
		out, err := transfertest.TryGit(source, args...)
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(out)
	}
	git("init", "--quiet", "--bare", dir)
	update := func(i int) {
		var stream strings.Builder
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter a <a@example.org> %d +0000\ndata 1\nc\n", 1_000_000_000+i)
		if i > 0 {
			stream.WriteString("from refs/heads/main^0\n")
		}
		fmt.Fprintf(&stream, "M 100644 inline file%d\ndata %d\n%s\n", i%50, 2000, strings.Repeat(fmt.Sprintf("%07d\n", i), 250))
		fmt.Fprintf(&stream, "reset refs/merge-requests/%d/head\nfrom refs/heads/main\n\n", i)
		cmd := exec.CommandContext(b.Context(), "git", "-C", dir, "fast-import", "--quiet")
		cmd.Stdin = strings.NewReader(stream.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	costs := make([]time.Duration, 0, b.N)
	for i := range b.N {
		update(i)
		began := time.Now()
		run, err := r.Begin(b.Context(), transfer.Place{Key: "r.git", Claim: transfertest.NewClaim()})
		if err == nil {
			_, err = run.Copy(b.Context(), nil)
		}
		if err == nil {
			err = run.Publish(b.Context())
		}
		if err == nil {
			err = run.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		costs = append(costs, time.Since(began))
	}
	tenth := max(1, b.N/10)
	mean := func(costs []time.Duration) float64 {
		sum := time.Duration(0)
		for _, cost := range costs {
			sum += cost
		}
		return float64(sum.Milliseconds()) / float64(len(costs))
	}
	packs, _ := filepath.Glob(place + "/objects/pack/*.pack")
	b.ReportMetric(mean(costs[:tenth]), "ms/first")
	b.ReportMetric(mean(costs[len(costs)-tenth:]), "ms/last")
	b.ReportMetric(float64(len(packs)), "packs")
	b.ReportMetric(float64(looseRefs(b, place)), "loose-refs")
}
