package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// countedSource counts the statements that ask for rows by key.
type countedSource struct {
	eventlog.DB
	asked atomic.Int64
}

func (s *countedSource) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if sql == refetchSQL.Missing {
		s.asked.Add(1)
	}
	return s.DB.QueryRow(ctx, sql, args...)
}

// Where keys come in the order of the registry, one walk through both sides does, and all is
// counted as if there had been two. Where they do not, rows are asked for by key.
func TestOneWalkWhereTheOrderIsTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		column string
		asks   bool
	}{
		"text": {"text PRIMARY KEY", false}, "number": {"bigint PRIMARY KEY", true}, "text of a language": {`text COLLATE "und-x-icu" PRIMARY KEY`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &refetchBundle{setup(t)}
			key := "i"
			if !strings.HasPrefix(c.column, "bigint") {
				key = "chr(CASE i % 2 WHEN 0 THEN 65 ELSE 97 END + i / 2)"
			}
			simple(t, b.Pool, `CREATE TABLE resources (key `+c.column+`, v int)`, trackResources,
				`INSERT INTO resources SELECT `+key+`, i FROM generate_series(1, 30) AS i`)
			b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, verified_at)
				SELECT $1, key::text, 1, 1, 1, jsonb_build_object('v', v), v AS version, v AS synced, now() FROM resources`, kind)
			b.tick(t)
			b.follow(t)
			source := &countedSource{DB: b.Pool}
			id := b.ask(t, registry.Request{})
			b.round(t, b.reconciler(t, func(cfg *Config) { cfg.Source, cfg.PageSize = source, 7 }))
			if got := b.report(t, id); got != "resource:" && got != "" {
				t.Errorf("got %q", got)
			}
			if asks := source.asked.Load() > 0; asks != c.asks {
				t.Errorf("rows were asked for by key %d times", source.asked.Load())
			}
			if got := b.Text(t, "SELECT sum(examined)::text || ' ' || (SELECT after_key IS NULL FROM casq.reconcile_runs WHERE id = $1) FROM casq.reconcile_counts WHERE run = $1", id); !strings.HasPrefix(got, "60 ") {
				t.Errorf("examined %s", got)
			}
		})
	}
}

// Another process goes on beyond a resource, and not beyond a row: in the source's order that
// may have other resources before it.
func TestMergeGoesOnInTheSourcesOrder(t *testing.T) {
	t.Parallel()
	b := &refetchBundle{setup(t)}
	simple(t, b.Pool, `CREATE TABLE resources (key text COLLATE "und-x-icu" PRIMARY KEY, v int)`, trackResources,
		"INSERT INTO resources SELECT chr(96 + i), i FROM generate_series(1, 20) AS i")
	tick := b.tick(t)
	b.follow(t)
	b.Exec(t, "DELETE FROM casq.registry")
	b.TakeJobs(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at)
		SELECT $1, 'Z' || i, 1, 1, $2, '{}', now() FROM generate_series(1, 9) AS i`, kind, tick)
	b.Exec(t, "UPDATE casq.registry SET synced_version = version")
	id := b.ask(t, registry.Request{})
	ctx, stop := context.WithCancel(t.Context())
	first := b.reconciler(t, func(cfg *Config) {
		cfg.PageSize = 5
		cfg.Hook = func(point string) {
			if point == "reconcile:committed" {
				stop()
			}
		}
	})
	if _ = first.round(ctx); b.finished(t, id) {
		t.Fatal("it was not cut off in the middle")
	}
	b.round(t, b.reconciler(t, func(cfg *Config) { cfg.PageSize = 5 }))
	if !b.finished(t, id) {
		t.Error("it is not finished")
	}
	if got := b.report(t, id); got != "resource: created 20" {
		t.Errorf("the report says %q", got)
	}
}

// Whether so many rows may be removed goes by all that there is, whichever of rows and
// resources come first in the order of keys: a folder that has another name.
func TestRenamedFolder(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"a", "z"} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.Exec(t, "INSERT INTO resources SELECT $1 || to_char(i, 'FM00'), i FROM generate_series(1, 30) AS i", folder)
			b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
				SELECT $1, 'old' || to_char(i, 'FM00'), 1, i, 1, '{}' FROM generate_series(1, 30) AS i`, kind)
			b.tick(t)
			b.Exec(t, "DELETE FROM casq.events")
			b.follow(t)
			if got := b.reconcile(t, registry.Request{}, func(c *Config) { c.PageSize = 7 }); got != "resource: created 30 removed 30" {
				t.Errorf("the report says %q", got)
			}
		})
	}
}

// Any state of both sides is put right, whatever the order of the keys and the pages.
func TestMergeOfAnyStates(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for seed := range uint64(12) {
		column := []string{"text PRIMARY KEY", "bigint PRIMARY KEY", `text COLLATE "und-x-icu" PRIMARY KEY`}[seed%3]
		t.Run(fmt.Sprintf("seed %d, key %s", seed, column), func(t *testing.T) {
			t.Parallel()
			b := &refetchBundle{setup(t)}
			simple(t, b.Pool, `CREATE TABLE resources (key `+column+`, v text, n numeric)`,
				`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', payload_columns => ARRAY['v', 'n'])`)
			random := rand.New(rand.NewPCG(seed, 15))
			var want []string
			for i := range 60 {
				key := fmt.Sprint(i)
				if seed%3 != 1 && i%2 == 0 {
					key = fmt.Sprintf("%c%d", []rune("aBcD-_ä")[random.IntN(7)], i)
				}
				if change := b.state(t, random, key); change != "" {
					want = append(want, change)
				}
			}
			b.Exec(t, "UPDATE casq.registry SET tick = $1", b.tick(t))
			b.follow(t)
			b.reconcile(t, registry.Request{AllowRemove: 1000}, func(c *Config) { c.PageSize = 1 + random.IntN(9) })
			var got []string
			for _, j := range b.TakeJobs(t) {
				got = append(got, fmt.Sprintf("%s %v", j.ResourceID, j.Deleted))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("jobs\n%q, want\n%q", got, want)
			}
		})
	}
}

// state makes a resource, or a row of it, or both, and returns the job that is to come of it.
func (b *refetchBundle) state(t *testing.T, random *rand.Rand, key string) (job string) {
	t.Helper()
	there, row := random.IntN(4) > 0, random.IntN(4)
	v := strings.Repeat("v", 1+1500*random.IntN(2))
	if there {
		b.Exec(t, "INSERT INTO resources SELECT v.key, $2, 1.50 FROM jsonb_populate_record(NULL::resources, jsonb_build_object('key', $1::text)) AS v", key, v)
	}
	const none, same, other, tombstone = 0, 1, 2, 3
	switch row {
	case none:
	case same: // as jsonb compares numbers
		b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) VALUES ($1, $2, 1, 1, 1, jsonb_build_object('v', $3::text, 'n', 1.5))`, kind, key, v)
	default:
		b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at)
			VALUES ($1, $2, 1, 1, 1, '{"v": "w", "n": 1.50}', CASE WHEN $3 THEN now() END)`, kind, key, row == tombstone)
	}
	b.Exec(t, "UPDATE casq.registry SET synced_version = version, verified_at = now() WHERE resource_id = $1", key)
	switch {
	case there && row != same:
		return key + " false"
	case !there && (row == same || row == other):
		return key + " true"
	}
	return ""
}
