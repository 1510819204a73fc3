package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// setupNeighbours is a home with repositories and their wikis in one tree, in files
// below it, and with rows of which no run has begun.
func setupNeighbours(t *testing.T) (*testBundle, *registry.Registry) {
	t.Helper()
	b := setup(t)
	b.Exec(t, `SELECT casq.define_kind('repo', 'git', prefix => ''), casq.define_kind('wiki', 'git', prefix => ''),
		casq.define_kind('deep', 'git', prefix => 'alice/deep'), casq.define_kind('page', 'file', prefix => '')`)
	return b, registry.New(registry.Config{Pool: b.Pool, Jobs: b.Queue, Logger: b.Logger}, b.Process(t))
}

// want makes a row, as the log does, and returns its token.
func (b *testBundle) want(t *testing.T, kind, key string) registry.Token {
	t.Helper()
	token := registry.Token{Kind: kind, ResourceID: key}
	err := b.Pool.QueryRow(t.Context(), `INSERT INTO casq.registry AS r (kind, resource_id, timeline, event_id, tick, payload) VALUES ($1, $2, 1, 1, 1, '{}')
		ON CONFLICT (kind, resource_id) DO UPDATE SET version = nextval('casq.registry_version'), deleted_at = NULL, attempts = 0
		RETURNING version`, kind, key).Scan(&token.Version)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// unwant makes a tombstone of it.
func (b *testBundle) unwant(t *testing.T, token registry.Token) registry.Token {
	t.Helper()
	if err := b.Pool.QueryRow(t.Context(), `UPDATE casq.registry SET version = nextval('casq.registry_version'), deleted_at = now(), attempts = 0,
		incarnation = incarnation + 1 WHERE kind = $1 AND resource_id = $2 RETURNING version`, token.Kind, token.ResourceID).Scan(&token.Version); err != nil {
		t.Fatal(err)
	}
	return token
}

func (b *testBundle) stateOf(t *testing.T, token registry.Token) string {
	t.Helper()
	var state string
	err := b.Pool.QueryRow(t.Context(), `SELECT concat_ws(' ', s.status, s.last_error) FROM casq.registry_status AS s WHERE s.kind = $1 AND s.resource_id = $2`,
		token.Kind, token.ResourceID).Scan(&state)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// Kinds share a tree as long as their keys do not collide.
func TestKindsShareATree(t *testing.T) {
	t.Parallel()
	b, r := setupNeighbours(t)
	if got := b.Text(t, "SELECT string_agg(kind || ' ' || neighbour, ', ' ORDER BY kind, neighbour) FROM casq.neighbours"); got != "deep repo, deep wiki, repo deep, repo wiki, wiki deep, wiki repo" {
		t.Errorf("neighbours are %s", got)
	}
	var claims []*registry.Claim
	for _, token := range []registry.Token{
		b.want(t, "repo", "alice/app.git"), b.want(t, "wiki", "alice/app.wiki.git"), b.want(t, "repo", "alice/app.git2"),
		b.want(t, "wiki", "alice/app.gi"), b.want(t, "deep", "x.git"), b.want(t, "wiki", "alice/deepest"),
		// Another target.
		b.want(t, "page", "alice/app.git"), b.want(t, "page", "alice/app.git/in"),
	} {
		claim, err := r.Claim(t.Context(), token, 1)
		if err != nil {
			t.Fatalf("%v: %v", token, err)
		}
		claims = append(claims, claim)
	}
	for _, claim := range claims {
		if err := r.Publish(claim, registry.Result{}, nil); err != nil {
			t.Errorf("%v: %v", claim.Token, err)
		}
	}
}

// Where they collide the second one is refused, with both kinds named, at the
// place, around it and within it.
func TestPlaceOfAnotherKind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ first, second registry.Token }{
		"the place":                {registry.Token{Kind: "repo", ResourceID: "a/b"}, registry.Token{Kind: "wiki", ResourceID: "a/b"}},
		"around":                   {registry.Token{Kind: "repo", ResourceID: "a"}, registry.Token{Kind: "wiki", ResourceID: "a/b/c"}},
		"within":                   {registry.Token{Kind: "wiki", ResourceID: "a/b/c"}, registry.Token{Kind: "repo", ResourceID: "a"}},
		"a folder, the place":      {registry.Token{Kind: "wiki", ResourceID: "alice/deep/x"}, registry.Token{Kind: "deep", ResourceID: "x"}},
		"the top, the place":       {registry.Token{Kind: "deep", ResourceID: "x"}, registry.Token{Kind: "wiki", ResourceID: "alice/deep/x"}},
		"around a kind's folder":   {registry.Token{Kind: "repo", ResourceID: "alice"}, registry.Token{Kind: "deep", ResourceID: "x"}},
		"a kind's folder":          {registry.Token{Kind: "repo", ResourceID: "alice/deep"}, registry.Token{Kind: "deep", ResourceID: "x"}},
		"a kind's folder, within":  {registry.Token{Kind: "deep", ResourceID: "x"}, registry.Token{Kind: "repo", ResourceID: "alice/deep"}},
		"a kind's folder, outside": {registry.Token{Kind: "deep", ResourceID: "x"}, registry.Token{Kind: "repo", ResourceID: "alice"}},
		"bytes beyond ASCII":       {registry.Token{Kind: "repo", ResourceID: "ä/ö"}, registry.Token{Kind: "wiki", ResourceID: "ä/ö/ü"}},
		"a quote and a percent":    {registry.Token{Kind: "repo", ResourceID: `a"%'`}, registry.Token{Kind: "wiki", ResourceID: `a"%'/b`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, r := setupNeighbours(t)
			first, second := b.want(t, c.first.Kind, c.first.ResourceID), b.want(t, c.second.Kind, c.second.ResourceID)
			claim, err := r.Claim(t.Context(), first, 1)
			if err != nil {
				t.Fatal(err)
			}
			refused := func(when string) {
				t.Helper()
				_, err := r.Claim(t.Context(), second, 2)
				if taken, ok := errors.AsType[*registry.TakenError](err); !ok || taken.RetryIn <= 0 {
					t.Fatalf("%s: %v", when, err)
				}
				got := b.stateOf(t, second)
				for _, want := range []string{"failed", first.Kind, second.Kind, strings.Trim(fmt.Sprintf("%q", first.ResourceID), `"`)} {
					if !strings.Contains(got, want) {
						t.Errorf("%s: it is %s, want a word of %s", when, got, want)
					}
				}
			}
			refused("a run is at work")
			if err := r.Publish(claim, registry.Result{}, nil); err != nil {
				t.Fatal(err)
			}
			refused("it is in place")
			// The removal of what was refused does nothing, and does not keep the first.
			if _, err := r.Claim(t.Context(), b.unwant(t, second), 3); !errors.Is(err, registry.ErrSuperseded) {
				t.Errorf("its removal: %v", err)
			}
			if got := b.stateOf(t, second); got != "removed" {
				t.Errorf("it is %s, want removed", got)
			}
			if got := b.stateOf(t, first); got != "synced" {
				t.Errorf("the first is %s", got)
			}
			// Once the first is removed, the second may come.
			second = b.want(t, second.Kind, second.ResourceID)
			if claim, err = r.Claim(t.Context(), b.unwant(t, first), 4); err != nil {
				t.Fatal(err)
			}
			refused("it is being removed")
			if err := r.Publish(claim, registry.Result{}, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Claim(t.Context(), second, 5); err != nil {
				t.Errorf("after the removal of the first: %v", err)
			}
		})
	}
}

// Two that claim one place at once, of two processes or in one group: one has it.
func TestPlaceIsClaimedByTwo(t *testing.T) {
	t.Parallel()
	b, r := setupNeighbours(t)
	other := registry.New(registry.Config{Pool: b.Pool, Jobs: b.Queue, Logger: b.Logger}, b.Process(t))
	for n := range 20 {
		key := fmt.Sprintf("both/%d", n)
		var group sync.WaitGroup
		var mu sync.Mutex
		granted, refused := 0, 0
		for i, token := range []registry.Token{b.want(t, "repo", key), b.want(t, "wiki", key+"/in")} {
			group.Go(func() {
				by := r
				if i == 1 && n%2 == 0 {
					by = other
				}
				_, err := by.Claim(t.Context(), token, int64(i+1))
				_, taken := errors.AsType[*registry.TakenError](err)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					granted++
				case taken:
					refused++
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		if granted != 1 || refused != 1 {
			t.Fatalf("%s: granted to %d, refused to %d; want one each", key, granted, refused)
		}
	}
}

// A kind that is moved into another's tree is refused where a resource of both would
// share a place, before anything has changed.
func TestMoveKindIntoATree(t *testing.T) {
	t.Parallel()
	b, r := setupNeighbours(t)
	b.Exec(t, "SELECT casq.define_kind('late', 'git')")
	for _, token := range []registry.Token{b.want(t, "repo", "a"), b.want(t, "late", "a"), b.want(t, "late", "b")} {
		claim, err := r.Claim(t.Context(), token, 1)
		if err == nil {
			err = r.Publish(claim, registry.Result{}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "late", "", registry.MoveOptions{})
	if !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), `late "a" would have the place of repo "a"`) {
		t.Errorf("moved: %v", err)
	}
	if got := b.Text(t, "SELECT prefix FROM casq.kinds WHERE kind = 'late'"); got != "late" {
		t.Errorf("it is at %q", got)
	}
	b.Exec(t, "DELETE FROM casq.registry WHERE kind = 'repo'")
	if moved, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "late", "", registry.MoveOptions{}); err != nil || moved.Asked != 2 {
		t.Errorf("moved %+v, %v", moved, err)
	}
}

// Among strangers' settings, and with a row that was moved since, places are compared by bytes.
func TestPlaceHoldersByTheirKey(t *testing.T) {
	t.Parallel()
	b, _ := setupNeighbours(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, size)
		SELECT 'repo', key, 1, 1, 1, '{}', 0 FROM unnest(ARRAY['a', 'b/c', 'b/d/e', 'c.git', 'D']) AS key`)
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		for key, want := range map[string]string{
			"a": "a", "a/x/y": "a", "b": "b/c", "b/d": "b/d/e", "b/d/e/f": "b/d/e", "c.gi": "", "c": "", "d": "", "b/": "",
		} {
			var got string
			if err := tx.QueryRow(t.Context(), "SELECT coalesce(string_agg(resource_id, ' '), '') FROM casq.place_holders('wiki', $1)", key).Scan(&got); err != nil {
				return err
			}
			if got != want {
				t.Errorf("%q: %q, want %q", key, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// waitsForLock returns when a session of the database waits for a lock.
func (b *testBundle) waitsForLock(t *testing.T, what, locktype string) {
	t.Helper()
	until(t, what, func() bool {
		return b.Text(t, fmt.Sprintf(`SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
			WHERE NOT l.granted AND l.locktype = '%s' AND a.datname = current_database()`, locktype)) == "1"
	})
}

// claimLater claims, and sends how that has ended.
func claimLater(t *testing.T, r *registry.Registry, token registry.Token) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := r.Claim(t.Context(), token, 1)
		ended <- err
	}()
	return ended
}

// A kind may begin to share a tree after a claim has found no neighbour, and before the
// claim has the lock: what the kind has by then is seen.
func TestKindBeginsToShareBeforeTheClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "SELECT casq.define_kind('repo', 'git', prefix => '')")
	r := b.Registry(t)
	token := b.want(t, "repo", "a")
	var ended <-chan error
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended('casq.places', 0))"); err != nil {
			return err
		}
		ended = claimLater(t, r, token)
		b.waitsForLock(t, "the claim has looked, and waits", "advisory")
		_, err := tx.Exec(t.Context(), `WITH k AS (SELECT casq.define_kind('wiki', 'git', prefix => ''))
			INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, size) SELECT 'wiki', 'a', 1, 1, 1, '{}', 1 FROM k`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the claim", ended); !isTaken(err) {
		t.Errorf("claimed: %v", err)
	}
}

func isTaken(err error) bool {
	_, taken := errors.AsType[*registry.TakenError](err)
	return taken
}

// A kind may begin to share a tree while a transaction has claimed a place that has not
// committed: whoever claims it for the kind waits for that.
func TestKindBeginsToShareAfterTheClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "SELECT casq.define_kind('repo', 'git', prefix => '')")
	r := b.Registry(t)
	b.want(t, "repo", "a")
	var ended <-chan error
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = (SELECT id FROM casq.processes), claim_job = 1",
			"SELECT casq.refuse_taken('{repo}', '{a}', (SELECT array_agg(claim) FROM casq.registry), 900)",
		} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		b.Exec(t, "SELECT casq.define_kind('wiki', 'git', prefix => '')")
		ended = claimLater(t, r, b.want(t, "wiki", "a"))
		b.waitsForLock(t, "the claim of the other kind waits", "advisory")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the claim", ended); !isTaken(err) {
		t.Errorf("claimed: %v", err)
	}
}
