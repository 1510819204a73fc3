package worker

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/s3test"

	_ "gocloud.dev/blob/s3blob" // s3://
)

// bucketKey is the resource that these tests are about.
const bucketKey = "builds/42/out.zip"

type bucketBundle struct {
	*testBundle
	server *s3test.Server
}

func setupBucket(t *testing.T) *bucketBundle {
	t.Helper()
	server := s3test.New(t)
	return &bucketBundle{setup(t, func(cfg *Config) { cfg.ArtifactTarget = server.URL("") }), server}
}

// reaches waits until the resource has the status and nothing else is in the
// bucket than the mark and these bytes; "": nothing else at all, also no staging.
func (b *bucketBundle) reaches(t *testing.T, status, content string) {
	t.Helper()
	const key = bucketKey
	want := map[string]string{}
	if content != "" {
		want[key] = content
	}
	b.until(t, key, func() bool {
		objects := b.server.Objects()
		marked := strings.Contains(objects[".casq/target"], `"transfer":"file"`)
		delete(objects, ".casq/target")
		return b.status(t, key) == status && marked && maps.Equal(objects, want)
	})
}

func (b *bucketBundle) remove(t *testing.T, key string) {
	t.Helper()
	b.exec(t, "DELETE FROM artifacts WHERE path = $1", key)
}

func TestABucketFollowsItsRows(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupBucket(t)
	const key = bucketKey
	for _, content := range []string{"first", "second, longer", "third"} {
		b.put(t, key, content)
		b.reaches(t, "synced", content)
	}
	b.remove(t, key)
	b.reaches(t, "removed", "")
	b.put(t, key, "again")
	b.reaches(t, "synced", "again")
	if n := b.checks(t); n != 0 {
		t.Errorf("%d checks of what nobody disputes", n)
	}
	// Verification is that of any target.
	b.server.Put(key, "AGAIN")
	b.verifyAll(t, "artifact")
	b.until(t, key, func() bool { return b.log.has("verification found a mismatch") })
	b.reaches(t, "synced", "again")
}

// checks is how many verifications wait or run.
func (b *bucketBundle) checks(t *testing.T) (n int) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job WHERE kind = 'casq_verify' AND finalized_at IS NULL").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A bucket cannot be fenced, and this is its promise in place of that: what the
// server was told before a later run began may land over the later run's bytes, or
// take them away; and the resource is right again after the next of the checks that
// the later run has queued. Without them it stays wrong.
func TestALateWriteToABucketIsRepaired(t *testing.T) {
	t.Parallel()
	const key = bucketKey
	type change = func(t *testing.T, b *bucketBundle)
	put := func(content string) change { return func(t *testing.T, b *bucketBundle) { b.put(t, key, content) } }
	remove := func(t *testing.T, b *bucketBundle) { b.remove(t, key) }
	for name, test := range map[string]struct {
		late, newer     change
		status, content string // as it should be
		wrong           string // as it is when the late write has landed
	}{
		"copy over a newer copy":  {put("late"), put("newer"), "synced", "newer", "late"},
		"copy after a removal":    {put("late"), remove, "removed", "", "late"},
		"removal of what is back": {remove, put("newer"), "synced", "newer", ""},
	} {
		for _, twin := range []bool{true, false} {
			run := "ours/" + name
			if twin {
				run = "twin/" + name
			}
			t.Run(run, func(t *testing.T) {
				t.Parallel()
				b := setupBucket(t)
				b.put(t, key, "first")
				b.reaches(t, "synced", "first")
				held := b.server.HoldNext(key)
				test.late(t, b)
				var late *s3test.Write
				select {
				case late = <-held:
				case <-time.After(20 * time.Second):
					t.Fatal("the write was not asked for")
				}
				// Its worker is taken for dead; another process, of the same program here,
				// takes over when there is something newer.
				b.exec(t, "UPDATE casq.processes SET dead_at = now()")
				test.newer(t, b)
				b.reaches(t, test.status, test.content)
				if n := b.checks(t); n == 0 {
					t.Fatal("nobody will look again")
				}
				if twin {
					b.exec(t, "DELETE FROM river.river_job WHERE kind = 'casq_verify'")
				}
				late.Land()
				if got := b.server.Objects()[key]; got != test.wrong {
					t.Fatalf("in place is %q, want %q, for that is what goes wrong", got, test.wrong)
				}
				if twin {
					b.put(t, "other", "x") // whatever else goes on
					b.until(t, "other", func() bool { return b.status(t, "other") == "synced" })
					if got := b.server.Objects()[key]; got != test.wrong || b.status(t, key) != test.status {
						t.Errorf("in place is %q, and the row says %s; want it wrong for good", got, b.status(t, key))
					}
					return
				}
				// The next check, which is ten minutes away if the first was too early.
				b.exec(t, "UPDATE river.river_job SET scheduled_at = now() WHERE kind = 'casq_verify' AND state = 'scheduled'")
				b.reaches(t, test.status, test.content)
			})
		}
	}
}

func TestNoSuchBucketEndsTheWorkerWithWhatToDo(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	b := setup(t) // for its database
	err := Run(t.Context(), Config{
		HomeURL: b.pool.Config().ConnString(), ArtifactSource: b.source,
		ArtifactTarget: server.BucketURL("nowhere", ""), Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err == nil || !strings.Contains(err.Error(), "no such bucket; create it") {
		t.Errorf("got %v", err)
	}
}

// What has got another key is copied by the server, and there is a copy of it all the while:
// also of two that exchange their keys.
func TestMovesInABucket(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupBucket(t)
	b.exec(t, "SELECT casq.untrack('artifacts')")
	b.exec(t, strings.Replace(trackArtifacts, "key_column => 'path'", "key_column => 'path', id_column => 'id'", 1))
	contents := map[string]string{"plain": "the plain one", "swap/a": "the first of two", "swap/b": "the second of two"}
	for key, content := range contents {
		b.put(t, key, content)
	}
	synced := func() bool { return b.count(t, "synced_version = version AND deleted_at IS NULL") == len(contents) }
	b.until(t, "plain", synced)
	for _, step := range [][2]string{{"plain", "moved"}, {"swap/a", "x"}, {"swap/b", "swap/a"}, {"x", "swap/b"}} {
		if err := os.Rename(filepath.Join(b.source, step[0]), filepath.Join(b.source, step[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.server.Asked()
	b.exec(t, `UPDATE artifacts SET path = 'moved' WHERE path = 'plain'; UPDATE artifacts SET path = 'x' WHERE path = 'swap/a';
		UPDATE artifacts SET path = 'swap/a' WHERE path = 'swap/b'; UPDATE artifacts SET path = 'swap/b' WHERE path = 'x'`)
	want := map[string]string{"moved": "the plain one", "swap/a": "the second of two", "swap/b": "the first of two"}
	b.until(t, "moved", func() bool {
		objects := b.server.Objects()
		for _, content := range contents {
			if !slices.Contains(slices.Collect(maps.Values(objects)), content) {
				t.Fatalf("no copy of %q is left in %q", content, objects)
			}
		}
		delete(objects, ".casq/target")
		maps.DeleteFunc(objects, func(key, _ string) bool { return strings.HasPrefix(key, ".casq/moved/") })
		return maps.Equal(objects, want)
	})
	if n := b.server.Asked()["PUT"]; n != 0 {
		t.Errorf("%d files were sent again", n)
	}
	b.until(t, "moved", func() bool { return synced() && b.count(t, "resource_id = 'plain' AND synced_version = version") == 1 })
}

// Objects of a bucket that change without a row are found by its listing, and copied again.
func TestABucketThatChangesWithoutARow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	server := s3test.New(t)
	b := setup(t, func(cfg *Config) { cfg.ArtifactSource = server.URL("") })
	b.exec(t, "SELECT casq.define_kind('page', 'file', probe => '1 s')")
	for _, key := range []string{"a", "b"} {
		server.Put(key, "first "+key)
		b.exec(t, "SELECT casq.append_event('page', $1, 'created')", key)
	}
	b.until(t, "both", func() bool { return b.count(t, "synced_version = version AND compared_at > queued_at") == 2 })
	server.Put("b", "other b")
	b.until(t, "b", func() bool {
		return b.inPlace("page/b", "other b") && b.count(t, "resource_id = 'b' AND probed_version = synced_version AND version = synced_version") == 1
	})
	if n := b.count(t, "probed_version IS NOT NULL"); n != 1 || !b.inPlace("page/a", "first a") {
		t.Errorf("%d were found to differ", n)
	}
}
