package worker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/long"
)

// gitIn runs git as a stranger's application does.
func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	git := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	git.Env = append(git.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// What no row tells is found at the kind's pace, and told as such: refs, files, and what
// comes where it was absent. A source that is swapped shows no difference.
func TestChangesThatNoRowTells(t *testing.T) {
	long.Test(t)
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	b := setup(t, func(cfg *Config) { cfg.RepositorySource, cfg.RepositoryTarget = from, to })
	b.exec(t, `SELECT casq.untrack('public.artifacts'), casq.drop_kind('artifact', true)`)
	b.exec(t, `SELECT casq.define_kind('repository', 'git', missing => 'absent', probe => '1 s'), casq.define_kind('page', 'file', source_prefix => 'pages', probe => '1 s')`)
	for i := range 3 {
		gitIn(t, from, "init", "--quiet", "--bare", "-b", "main", fmt.Sprintf("%d.git", i))
		gitIn(t, from, "--git-dir", fmt.Sprintf("%d.git", i), "commit-tree", "-m", "x", "4b825dc642cb6eb9a060e54bf8d69288fbee4904")
	}
	write := func(content string, at time.Time) {
		t.Helper()
		path := filepath.Join(b.source, "pages", "a")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("one", time.Unix(1e9, 0))
	b.exec(t, `SELECT casq.append_event('repository', key, 'created') FROM unnest('{0.git,1.git,2.git,later.git}'::text[]) AS key`)
	b.exec(t, `SELECT casq.append_event('page', 'a', 'created')`)
	b.until(t, "all", func() bool {
		return b.count(t, "synced_version = version AND compared_at IS NOT NULL") == 4 && b.count(t, "absent AND compared_at IS NOT NULL") == 1
	})
	versions := b.count(t, "probed_version IS NOT NULL")
	if versions != 0 {
		t.Errorf("%d resources differ that did not change", versions)
	}
	gitIn(t, from, "init", "--quiet", "--bare", "-b", "main", "later.git")
	gitIn(t, from, "--git-dir", "1.git", "symbolic-ref", "HEAD", "refs/heads/trunk")
	write("two", time.Unix(1e9+1, 0))
	b.until(t, "the changes", func() bool {
		return b.count(t, "resource_id IN ('1.git', 'a') AND synced_version = version AND probed_version = version AND compared_at > queued_at") == 2 &&
			b.count(t, "synced_version = version") == 5
	})
	// What was absent may have been looked at by its own job.
	if b.count(t, "probed_version IS NOT NULL AND resource_id <> 'later.git'") != 2 || b.count(t, "resource_id <> 'later.git' AND casq.why(kind, resource_id) LIKE '%since it had changed without an event, after event%'") != 2 {
		t.Error("what changed is not told")
	}
	if got, err := os.ReadFile(filepath.Join(b.target, "page", "a")); err != nil || string(got) != "two" {
		t.Error(string(got), err)
	}
	// The folder is another one, and empty.
	if err := os.Rename(from, from+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(from+".gone2", 0o755); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the source is away", func() bool {
		var away bool
		return b.pool.QueryRow(t.Context(), "SELECT last_error IS NOT NULL AND failing_since IS NOT NULL FROM casq.probes WHERE kind = 'repository'").Scan(&away) == nil && away
	})
	if n := b.count(t, "kind = 'repository' AND synced_version = version"); n != 4 {
		t.Errorf("%d repositories are in place once the source is away", n)
	}
}
