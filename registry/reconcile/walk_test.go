package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/registry"
)

// inPlace is a target: when its resources were put there last.
type inPlace map[string]time.Time

func (p inPlace) Walk(_ context.Context, _, after string, each func(Placed) error) error {
	for _, key := range slices.Sorted(maps.Keys(p)) {
		if key <= after {
			continue
		}
		if err := each(Placed{Key: key, Changed: p[key]}); err != nil {
			return err
		}
	}
	return nil
}

// walkBundle is a site whose registry and whose target say different resources.
type walkBundle struct {
	*refetchBundle
	target inPlace
	checks *checkList
}

func setupWalk(t *testing.T) *walkBundle {
	t.Helper()
	b := &walkBundle{setupRefetch(t), inPlace{}, &checkList{}}
	long := time.Now().Add(-48 * time.Hour)
	for _, key := range []string{"absent", "fine", "new", "recent", "verified since", "z absent"} {
		b.put(t, key, 1)
		b.know(t, key, 1, 1, false)
	}
	for _, key := range []string{"back", "removing", "removed"} {
		b.know(t, key, 1, 1, true)
	}
	b.Exec(t, "UPDATE casq.registry SET synced_version = NULL WHERE resource_id IN ('removing', 'new')")
	b.Exec(t, "UPDATE casq.registry SET verified_at = now() + interval '1 hour' WHERE resource_id = 'verified since'")
	for _, key := range []string{"b orphan", "back", "fine", "orphan", "removing"} {
		b.target[key] = long
	}
	b.target["recent"], b.target["verified since"] = time.Now(), time.Now()
	b.tick(t)
	b.follow(t)
	return b
}

func (b *walkBundle) configure(size int) func(*Config) {
	return func(c *Config) {
		c.Targets, c.Checks, c.PageSize = map[string]Target{eventlog.TransferNone: b.target}, b.checks, size
		c.Margin = time.Hour // what waits for a job has not waited for long
	}
}

func (b *walkBundle) checked() string {
	slices.SortFunc(b.checks.tokens, registrytest.CompareTokens)
	keys := ""
	for _, token := range slices.Compact(b.checks.tokens) {
		keys += token.ResourceID + ", "
	}
	b.checks.tokens = nil
	return keys
}

func TestReconcileWalks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 5000} {
		t.Run(fmt.Sprintf("pages of %d", size), func(t *testing.T) {
			t.Parallel()
			b := setupWalk(t)
			if got := b.reconcile(t, registry.Request{}, b.configure(size)); got != "" || b.checked() != "" {
				t.Errorf("without a walk: %q", got)
			}
			if got := b.reconcile(t, registry.Request{Walk: true, RemoveOrphans: true, DryRun: true}, b.configure(size)); got != "resource: checks 2 orphans 2 orphans_removed 2 removed 1" {
				t.Errorf("dry: got %q", got)
			}
			b.WantJobs(t)
			if got := b.checked(); got != "" {
				t.Errorf("dry: checked %s", got)
			}
			if got := b.Text(t, "SELECT string_agg(resource_id, ', ' ORDER BY resource_id) FROM casq.reconcile_orphans"); got != "b orphan, orphan" {
				t.Errorf("dry: named %s", got)
			}
			// Orphans stay where they are: the folder may not be casq's alone.
			if got := b.reconcile(t, registry.Request{Walk: true}, b.configure(size)); got != "resource: checks 2 orphans 2 removed 1" {
				t.Errorf("got %q", got)
			}
			if got := b.checked(); got != "absent, z absent, " {
				t.Errorf("checked %s", got)
			}
			b.WantJobs(t, jobFor("back", b.Row(t, "back").Version, true))
			if got := b.reconcile(t, registry.Request{Walk: true, RemoveOrphans: true}, b.configure(size)); got != "resource: checks 2 orphans 2 orphans_removed 2" {
				t.Errorf("got %q", got)
			}
			b.WantJobs(t, jobFor("b orphan", b.Row(t, "b orphan").Version, true), jobFor("orphan", b.Row(t, "orphan").Version, true))
			if got := b.Row(t, "orphan"); !got.Deleted || got.Status != "removing" || got.EventID != 0 || got.Timeline != 1 {
				t.Errorf("the orphan's row is %+v", got)
			}
		})
	}
}

// What was put in place in a time that may be lost in part is compared, and what
// is not there, and nothing else.
func TestWalkAfterHomesFailover(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	ask := func() string {
		return b.reconcile(t, registry.Request{Walk: true, Reason: registry.Failover}, b.configure(2), func(c *Config) {
			c.VerifyEvery = 1000 * time.Hour
		})
	}
	b.Exec(t, "ALTER TABLE casq.reconcile_runs ALTER lost_since SET DEFAULT now()")
	if got := ask(); got != "resource: checks 3 orphans 2 removed 1" {
		t.Errorf("got %q", got)
	}
	if got := b.checked(); got != "absent, recent, z absent, " {
		t.Errorf("checked %s", got)
	}
	b.Exec(t, "ALTER TABLE casq.reconcile_runs ALTER lost_since SET DEFAULT now() + interval '2 hours'")
	ask()
	if got := b.checked(); got != "absent, z absent, " {
		t.Errorf("nothing was put there since; checked %s", got)
	}
}

// away is a target that names some of what is in place, and is then another folder.
type away struct{ inPlace }

var errAway = errors.New("another folder has the name")

func (a away) Walk(ctx context.Context, prefix, after string, each func(Placed) error) error {
	return errors.Join(a.inPlace.Walk(ctx, prefix, after, each), errAway)
}

// A target that is another one by the end of the walk has named nothing that counts as
// absent. The kind is tried again by a run of its own.
func TestWalkThroughATargetThatIsReplaced(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	id := b.ask(t, registry.Request{Walk: true})
	b.round(t, b.reconciler(t, b.configure(5000), func(c *Config) {
		c.Targets = map[string]Target{eventlog.TransferNone: away{inPlace{}}}
	}))
	if got := b.checked(); got != "" {
		t.Errorf("checked %s", got)
	}
	if got := b.Text(t, parts, id); got != "resource waits: walk through kind resource: "+errAway.Error() {
		t.Errorf("the part: %q", got)
	}
	b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
	b.round(t, b.reconciler(t, b.configure(5000)))
	if got := b.report(t, id+1); got != "resource: checks 2 orphans 2 removed 1" {
		t.Errorf("the part has found %q", got)
	}
}

// The resource is created, or its create is read, at any point of the walk.
func TestWalkWhileItIsCreated(t *testing.T) {
	t.Parallel()
	created := func(t *testing.T, b *walkBundle) {
		t.Helper()
		b.Apply(t, event(2000, eventlog.Created, "orphan", `{"v": 1}`), event(2001, eventlog.Created, "back", `{"v": 1}`))
		b.Exec(t, "UPDATE casq.registry SET synced_version = version WHERE resource_id IN ('orphan', 'back')") // at once
	}
	for name, test := range map[string]struct {
		point string
		do    func(t *testing.T, b *walkBundle)
		want  string
		live  bool
	}{
		"in the source only": {"reconcile:walked", func(t *testing.T, b *walkBundle) {
			t.Helper()
			b.put(t, "orphan", 1)
			b.put(t, "back", 1)
		}, "resource: checks 2 orphans 1 orphans_removed 1", false},
		"read before the plan":        {"reconcile:walked", created, "resource: checks 2 orphans 1 orphans_removed 1", true},
		"read after the plan":         {"reconcile:planned", created, "resource: checks 2 late 2 orphans 2 orphans_removed 1", true},
		"read after it was asked for": {"", nil, "resource: checks 2 orphans 2 orphans_removed 2 removed 1", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWalk(t)
			done := false
			got := b.reconcile(t, registry.Request{Walk: true, RemoveOrphans: true}, b.configure(5000), func(c *Config) {
				c.Hook = func(point string) {
					if point == test.point && !done {
						done = true
						test.do(t, b)
					}
				}
			})
			if got != test.want {
				t.Errorf("got %q", got)
			}
			if test.do == nil {
				old := b.Row(t, "orphan").Version
				created(t, b)
				if _, err := b.Registry(t).Claim(t.Context(), registry.Token{Kind: kind, ResourceID: "orphan", Version: old}, 1); err == nil {
					t.Error("the removal still has a claim")
				}
			}
			if test.live {
				for _, key := range []string{"orphan", "back"} {
					if got := b.Row(t, key); got.Deleted {
						t.Errorf("%s is %+v", key, got)
					}
				}
			}
		})
	}
}

// A kind that the source cannot be asked for has no proof that its orphans are
// any.
func TestWalkThroughAKindWithoutATable(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`)
	if got := b.reconcile(t, registry.Request{Walk: true, RemoveOrphans: true}, b.configure(2)); got != "resource: checks 2 orphans 2 removed 1 unlisted true" {
		t.Errorf("got %q", got)
	}
}

// A walk that is interrupted goes on where it was, and counts each resource once.
func TestWalkIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	id := b.ask(t, registry.Request{Walk: true, RemoveOrphans: true})
	for commits := 1; !b.finished(t, id); commits++ {
		ctx, cancel := context.WithCancel(t.Context())
		left := 4
		r := b.reconciler(t, b.configure(2), func(c *Config) {
			c.Hook = func(point string) {
				if point == "reconcile:committed" {
					left--
					if left == 0 {
						cancel()
					}
				}
			}
		})
		_ = r.round(ctx)
		cancel()
		if commits > 100 {
			t.Fatal("it does not come to its end")
		}
	}
	if got := b.report(t, id); got != "resource: checks 2 orphans 2 orphans_removed 2 removed 1" {
		t.Errorf("got %q", got)
	}
}

func TestScheduledWalks(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupWalk(t)
	r := b.reconciler(t, b.configure(100), func(c *Config) { c.Every, c.WalkEvery = 20*time.Hour, 50*time.Hour })
	for day, want := range []bool{true, false, false, true} {
		if err := r.schedule(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.Text(t, "SELECT walk::text FROM casq.reconcile_runs ORDER BY id DESC LIMIT 1"); got != fmt.Sprint(want) {
			t.Errorf("day %d: walk is %s", day, got)
		}
		b.Exec(t, "UPDATE casq.reconcile_runs SET finished_at = now(), requested_at = requested_at - interval '24 hours'")
	}
}
