package reconcile

import (
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
)

// A walk through a tree that kinds share takes no kind's resources for another's orphans:
// neither those that have a row, nor those of which the log has still to tell.
func TestWalkThroughASharedTree(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 5000} {
		t.Run(fmt.Sprintf("pages of %d", size), func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			simple(t, b.Pool, `CREATE TABLE repos (path text PRIMARY KEY); CREATE TABLE wikis (path text PRIMARY KEY);
				SELECT casq.track('repos', kind => 'repo', transfer => 'file', key_column => 'path', prefix => '');
				SELECT casq.track('wikis', kind => 'wiki', transfer => 'file', key_column => 'path', prefix => 'w');
				INSERT INTO repos VALUES ('a'), ('w'); INSERT INTO wikis VALUES ('known'), ('unread');
				INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at) VALUES
					('repo', 'a', 1, 1, 1, '{}', NULL), ('repo', 'w/known', 1, 1, 1, '{}', now()), ('wiki', 'known', 1, 1, 1, '{}', NULL),
					('wiki', 'going', 1, 1, 1, '{}', now()), ('wiki', 'gone', 1, 1, 1, '{}', now());
				UPDATE casq.registry SET synced_version = version, verified_at = now() WHERE resource_id <> 'going';`)
			b.tick(t)
			b.follow(t)
			target := inPlace{}
			for _, key := range []string{"a", "w/known", "w/unread", "w/going", "w/gone", "w/orphan", "orphan"} {
				target[key] = time.Now()
			}
			walk := func() string {
				return b.reconcile(t, registry.Request{Kind: "repo", Walk: true, RemoveOrphans: true, DryRun: true}, func(c *Config) {
					c.Targets, c.Checks, c.PageSize = map[string]Target{eventlog.TransferFile: target}, &checkList{}, size
					c.Margin = time.Hour
				})
			}
			// "w/gone" is of no row that wants it: it is an orphan to whoever meets it.
			if got := walk(); got != "repo: created 1 orphans 3 orphans_removed 3" {
				t.Errorf("got %q", got)
			}
			if got := b.Text(t, "SELECT string_agg(resource_id, ', ' ORDER BY resource_id) FROM casq.reconcile_orphans"); got != "orphan, w/gone, w/orphan" {
				t.Errorf("orphans are %s", got)
			}
			// Without the neighbour's table nobody knows what is its own in its folder.
			simple(t, b.Pool, "SELECT casq.untrack('wikis')")
			if got := walk(); got != "repo: created 1 orphans 4 orphans_removed 1" {
				t.Errorf("without the table: got %q", got)
			}
		})
	}
}
