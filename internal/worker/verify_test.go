package worker

import (
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/jobs"
	"casq/registry"
)

// verifyAll asks for everything of a kind, as an operator does.
func (b *testBundle) verifyAll(t *testing.T, kind string) {
	t.Helper()
	queue, err := jobs.NewQueue(b.pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := registry.VerifyKind(t.Context(), b.pool, queue, kind, registry.VerifyOptions{}); err != nil || n == 0 {
		t.Fatalf("asked for %d: %v", n, err)
	}
}

func TestVerificationRepairsAFile(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"good", "corrupt", "lost"} {
		b.put(t, key, "bytes of "+key)
		b.until(t, key, func() bool { return b.status(t, key) == "synced" })
	}
	if err := os.WriteFile(filepath.Join(b.target, "corrupt"), []byte("bytes of CORRUPT"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.target, "lost")); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	good := b.version(t, "good")
	b.verifyAll(t, "artifact")
	for _, key := range []string{"corrupt", "lost"} {
		b.until(t, key, func() bool { return b.inPlace(key, "bytes of "+key) && b.status(t, key) == "synced" })
	}
	b.until(t, "good", func() bool { return b.count(t, "verified_at > '2000-01-01'") == 3 })
	if b.version(t, "good") != good {
		t.Error("what was right was copied again")
	}
	b.until(t, "corrupt", func() bool { return b.log.has("verification found a mismatch, copying again") })
}

func (b *testBundle) version(t *testing.T, key string) (version int64) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT version FROM casq.registry WHERE resource_id = $1", key).Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

func TestVerificationRepairsARepository(t *testing.T) {
	long.Test(t)
	t.Parallel()
	source, target := t.TempDir(), t.TempDir()
	b := setup(t, func(cfg *Config) { cfg.RepositorySource, cfg.RepositoryTarget = source, target })
	b.exec(t, "SELECT casq.define_kind('repository', 'git', prefix => '')")
	spoil := map[string]func(at string){
		"moved.git": func(at string) { transfertest.Git(t, at, "update-ref", "refs/heads/main", "refs/heads/main~1") },
		"holed.git": func(at string) {
			packs, err := filepath.Glob(filepath.Join(at, "objects", "pack", "*"))
			if err != nil || len(packs) == 0 {
				t.Fatalf("no packs in place: %v", err)
			}
			for _, pack := range packs {
				if err := os.Remove(pack); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	synced := func(key string) bool {
		return b.count(t, "resource_id = '"+key+"' AND synced_version = version") == 1
	}
	want := map[string]string{}
	for key := range spoil {
		at := filepath.Join(source, key)
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		transfertest.Git(t, at, "init", "--quiet", "--bare", "--initial-branch=main")
		tree := transfertest.Git(t, at, "hash-object", "-w", "-t", "tree", "/dev/null")
		first := transfertest.Git(t, at, "commit-tree", tree, "-m", "first")
		want[key] = transfertest.Git(t, at, "commit-tree", tree, "-p", first, "-m", "second")
		transfertest.Git(t, at, "update-ref", "refs/heads/main", want[key])
		b.exec(t, "SELECT casq.append_event('repository', $1, 'created')", key)
		b.until(t, key, func() bool { return synced(key) })
		spoil[key](filepath.Join(target, key))
	}
	before := map[string]int64{"moved.git": b.version(t, "moved.git"), "holed.git": b.version(t, "holed.git")}
	b.verifyAll(t, "repository")
	for key := range spoil {
		b.until(t, key, func() bool { return b.version(t, key) > before[key] && synced(key) })
		at := filepath.Join(target, key)
		if got := transfertest.Git(t, at, "rev-parse", "refs/heads/main"); got != want[key] {
			t.Errorf("%s: main is %s, want %s", key, got, want[key])
		}
		transfertest.Git(t, at, "fsck", "--strict")
	}
}
