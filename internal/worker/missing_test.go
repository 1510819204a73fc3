package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"casq/internal/testing/long"
)

// A repository that is not there is missing like a file: with its own reason,
// and looked for until it comes.
func TestAMissingRepository(t *testing.T) {
	long.Test(t)
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	b := setup(t, func(cfg *Config) { cfg.RepositorySource, cfg.RepositoryTarget = from, to })
	b.exec(t, "SELECT casq.define_kind('repository', 'git', prefix => '')")
	b.exec(t, "SELECT casq.append_event('repository', 'group/project.git', 'created')")
	const resource = "kind = 'repository' AND "
	b.until(t, "group/project.git", func() bool {
		return b.count(t, resource+"missing_since IS NOT NULL AND retry_at IS NOT NULL AND last_error LIKE 'missing at the source: %' AND synced_version IS NULL") == 1
	})
	git := exec.CommandContext(t.Context(), "git", "init", "--quiet", "--bare", filepath.Join(from, "group", "project.git"))
	git.Env = append(git.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.exec(t, "SELECT casq.append_event('repository', 'group/project.git', 'updated')")
	b.until(t, "group/project.git", func() bool {
		return b.count(t, resource+"synced_version = version AND missing_since IS NULL AND last_error IS NULL") == 1
	})
	if _, err := os.Stat(filepath.Join(to, "group", "project.git", "HEAD")); err != nil {
		t.Error(err)
	}
}
