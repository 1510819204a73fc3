package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
	"casq/jobs"
	"casq/runner"

	"golang.org/x/sync/errgroup"
)

const (
	growthLeast  = 100_000 // rows
	growthEvents = 10_000  // in a round
	growthScope  = 10_000  // rows of the scope that is recounted
)

// grown is a site that has so many rows of everything: resources, artifacts and builds.
type grown struct {
	*buildSite
	rows     int
	counters *counter.Counters
	recounts *recount.Recounts
}

// growth: what is done a second with ten times as many rows, up to so many: events transposed,
// jobs synced, builds picked, and how long a recount of one scope takes; against a site that
// has a tenth of them. All of them take turns.
func growth(most int) func(context.Context, *measure.Bench) ([]measure.Result, error) {
	return func(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
		if most < 10*growthLeast {
			return nil, fmt.Errorf("grow to %d rows: there is nothing to compare with; %d or more", most, 10*growthLeast)
		}
		var all []*grown
		defer func() {
			for _, g := range all {
				err = errors.Join(err, g.close())
			}
		}()
		for rows := growthLeast; rows <= most; rows *= 10 {
			m.Say("%d rows", rows)
			g, err := newGrown(ctx, rows)
			if err != nil {
				return nil, err
			}
			all = append(all, g)
		}
		figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
			for _, g := range all {
				if err := g.round(ctx, f); err != nil {
					return fmt.Errorf("with %d rows: %w", g.rows, err)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return grownBy(figures, all), nil
	}
}

func grownBy(figures *measure.Figures, all []*grown) (results []measure.Result) {
	for _, what := range []struct{ name, unit, note string }{
		{"transpose", "events/s", fmt.Sprintf("%d updates of any of the resources", growthEvents)},
		{"sync", "jobs/s", "their jobs: claim, no-op copy, commit, complete"},
		{"picks", "builds/s", fmt.Sprintf("handed to %d runners, while most of the queue is for others; %d in a round", benchRunners, picksInAll)},
		{"recount", "s", fmt.Sprintf("of one scope with %d rows", growthScope)},
	} {
		for i, g := range all[1:] {
			name := func(g *grown) string { return fmt.Sprintf("%s %d", what.name, g.rows) }
			results = append(results, figures.Compare(fmt.Sprintf("growth/%s/%d", what.name, g.rows), name(g), name(all[i]), what.unit,
				fmt.Sprintf("%s; %d rows, reference: %d", what.note, g.rows, all[i].rows)))
		}
	}
	return results
}

func newGrown(ctx context.Context, rows int) (_ *grown, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	s.log = slog.New(slog.DiscardHandler) // nobody begins the builds that are handed out, which is told of each
	b, err := s.coordinate(ctx, runner.Options{Hold: startedWithin, SiblingHold: startedWithin})
	if err != nil {
		return nil, err
	}
	g := &grown{buildSite: b, rows: rows}
	if err := errors.Join(b.fill(ctx, rows), g.resources(ctx), g.artifacts(ctx)); err != nil {
		return nil, errors.Join(err, g.close())
	}
	counting := jobs.NewCounting(b.queue)
	g.counters = counter.New(counter.Config{Home: b.DB, Redis: b.redis, Jobs: counting, Logger: b.log})
	g.recounts = recount.New(recount.Config{Home: b.DB, Counters: g.counters, Jobs: counting, Logger: b.log})
	return g, nil
}

// resources makes rows of the registry that are synced.
func (g *grown) resources(ctx context.Context) error {
	for done := 0; done < g.rows; done += growthLeast {
		_, err := g.DB.Exec(ctx, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, verified_at)
			SELECT 'resource', 'resources/' || i, 1, i, 1, '{}', i AS version, i AS synced, now() FROM generate_series($1::int, $2::int) AS i`, done+1, done+growthLeast)
		if err != nil {
			return fmt.Errorf("make resources: %w", err)
		}
	}
	_, err := g.DB.Exec(ctx, "SELECT setval('casq.registry_version', $1)", g.rows)
	return err
}

// artifacts makes a table of which one scope has always as many rows, and has it tracked.
func (g *grown) artifacts(ctx context.Context) error {
	for _, sql := range []string{
		fmt.Sprintf(`CREATE TABLE artifacts AS SELECT n AS id, CASE WHEN n %% %d = 0 THEN 0 ELSE n %% 999 + 1 END AS project, n %% 1000 AS size
			FROM generate_series(1, %d) AS n`, g.rows/growthScope, g.rows),
		"ALTER TABLE artifacts ADD PRIMARY KEY (id)", "CREATE INDEX ON artifacts (project, id)",
		"SELECT casq.track('artifacts', kind => 'artifact', transfer => 'none', key_column => 'id', scope_column => 'project', size_column => 'size')",
		"VACUUM ANALYZE", "CHECKPOINT",
	} {
		if _, err := g.DB.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make artifacts: %w", err)
		}
	}
	return nil
}

func (g *grown) round(ctx context.Context, f *measure.Figures) error {
	add := func(what string, figure float64) { f.Add(fmt.Sprintf("%s %d", what, g.rows), figure) }
	took, err := g.transpose(ctx)
	if err != nil {
		return err
	}
	add("transpose", growthEvents/took.Seconds())
	if took, err = g.workQueued(ctx, growthEvents, nil); err != nil {
		return err
	}
	add("sync", growthEvents/took.Seconds())
	rate, err := race(ctx, func(ctx context.Context, i int) (int64, error) { return g.request(ctx, g.server, g.tokens[i]) })
	if err != nil {
		return err
	}
	add("picks", rate)
	seconds, err := g.recount(ctx)
	add("recount", seconds)
	return err
}

// transpose updates resources that are any of those there are, each once.
func (g *grown) transpose(ctx context.Context) (time.Duration, error) {
	_, err := g.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', 'resources/' || ($1::bigint / $2 * i - floor(random() * ($1 / $2)))::bigint, 'updated', jsonb_build_object('id', i) FROM generate_series(1, $2::bigint) AS i`,
		g.rows, growthEvents)
	if err != nil {
		return 0, fmt.Errorf("append events: %w", err)
	}
	// What a worker has left that recounted is not for those who sync.
	if _, err := g.DB.Exec(ctx, "DELETE FROM river.river_job WHERE queue <> 'resource'"); err != nil {
		return 0, err
	}
	return g.followUntil(ctx, fmt.Sprintf("SELECT count(*) = %d FROM river.river_job WHERE state = 'available'", growthEvents))
}

// recount has a worker do it, which has nothing else to do.
func (g *grown) recount(ctx context.Context) (seconds float64, err error) {
	inner, halt := context.WithCancel(ctx)
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error {
		return worker.Run(inner, worker.Config{HomeURL: g.URL, RedisURL: g.Redis.URL(), Logger: g.log})
	})
	defer func() { halt(); err = errors.Join(err, group.Wait()) }()
	b := &recountBench{site: g.site, recounts: g.recounts}
	for range 2 { // the worker starts, and follows what was there, in the first
		if seconds, err = b.once(ctx, recount.Request{Kind: "artifact", Scopes: []string{"0"}}); err != nil {
			return 0, err
		}
	}
	return seconds, nil
}
