package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/programs/bench/measure"
	"casq/internal/queries"
	"casq/internal/worker"
	"casq/jobs"
	"casq/races/refreshkey"

	"golang.org/x/sync/errgroup"
)

//go:embed recount.sql
var recountText string

// recountSQL has the statements of recount.sql.
var recountSQL = queries.Parse[struct{ Table, Same string }]("bench/recount", recountText)

const (
	recountResources = 5_000_000
	recountChange    = 100 // rows that one transaction changes
	recountEvery     = 50 * time.Millisecond
)

// recountBench is a table that is recounted by a worker while it changes.
type recountBench struct {
	*site
	recounts  *recount.Recounts
	resources int
	keys      int64 // of Redis, during the last recount
}

// benchRecount: seconds that a recount takes from the request to the swap, with 2,000
// changes a second going on, against the bare query on the same table while
// nothing else happens: of all scopes, and of one that has a fifth of the rows;
// and the latter against the published way. In the end each counter has to be what
// the table says.
func benchRecount(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	b := &recountBench{resources: recountResources}
	if b.site, err = newSite(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	// Utility statements take no parameters.
	table := strings.ReplaceAll(recountSQL.Table, "$1", strconv.Itoa(b.resources))
	for _, sql := range []string{
		table, "ALTER TABLE artifacts ADD PRIMARY KEY (id)", "CREATE INDEX ON artifacts (project, id)", "VACUUM ANALYZE artifacts", "CHECKPOINT",
		"SELECT casq.track('artifacts', kind => 'artifact', transfer => 'none', key_column => 'id', scope_column => 'project', size_column => 'size')",
	} {
		if _, err := b.DB.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	return b.measure(ctx, m)
}

func (b *recountBench) measure(ctx context.Context, m *measure.Bench) ([]measure.Result, error) {
	counting := jobs.NewCounting(b.queue)
	counters := counter.New(counter.Config{Home: b.DB, Redis: b.redis, Jobs: counting, Logger: b.log})
	b.recounts = recount.New(recount.Config{Home: b.DB, Counters: counters, Jobs: counting, Logger: b.log})
	inner, halt := context.WithCancel(ctx)
	defer halt()
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error {
		return worker.Run(inner, worker.Config{HomeURL: b.URL, RedisURL: b.Redis.URL(), Logger: slog.New(slog.DiscardHandler)})
	})
	changing := make(chan bool)
	group.Go(func() error { return b.change(inner, changing) })
	all := measured{name: "all", sql: "SELECT project, sum(size), count(*) FROM artifacts GROUP BY project", request: recount.Request{All: true}}
	one := measured{name: "one", sql: "SELECT sum(size) FROM artifacts WHERE project = 0", request: recount.Request{Scopes: []string{"0"}}}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		return errors.Join(b.round(ctx, f, all, changing), b.round(ctx, f, one, changing))
	})
	if err != nil {
		return nil, err
	}
	m.Say("the published way")
	changing <- true
	published, memory, err := b.published(ctx)
	if err != nil {
		return nil, err
	}
	changing <- false
	if err := b.same(ctx); err != nil {
		return nil, err
	}
	halt()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	compare := func(name, what string) measure.Result {
		return figures.Compare("recount/"+name, name, name+" bare", "s", fmt.Sprintf(
			"%s of %d artifacts, 2,000 changes a second; reference: the bare query, idle, before each (%.2f s while changes go on); %d keys in Redis during it, two for each of 16 shards as at any time",
			what, b.resources, figures.Median(name+" busy"), b.keys))
	}
	return []measure.Result{
		compare("all", "all scopes"), compare("one", "one scope with a fifth"),
		{Bench: "recount/published", Ours: figures.Median("one"), Reference: published, Unit: "s", Note: fmt.Sprintf(
			"the same scope; reference: the published way, once, from the request to the clean-up, without its delay of 10 minutes; it took %d kB of Redis", memory/1024)},
	}, nil
}

// measured is a recount, and the bare query beside it.
type measured struct {
	name, sql string
	request   recount.Request
}

// round is the bare query while nothing else happens, then a recount while
// changing, and the bare query again, while changes go on as they do for ours.
func (b *recountBench) round(ctx context.Context, f *measure.Figures, m measured, changing chan<- bool) error {
	took, err := b.bare(ctx, m.sql)
	if err != nil {
		return err
	}
	f.Add(m.name+" bare", took)
	changing <- true
	m.request.Kind = "artifact"
	if took, err = b.once(ctx, m.request); err != nil {
		return err
	}
	f.Add(m.name, took)
	if took, err = b.bare(ctx, m.sql); err != nil {
		return err
	}
	f.Add(m.name+" busy", took)
	changing <- false
	return nil
}

// published is a recount of one scope by the published way, in full.
func (b *recountBench) published(ctx context.Context) (seconds float64, memory int64, err error) {
	p := refreshkey.New(refreshkey.Config{DB: b.DB, Redis: b.redis, Prefix: "published:", Hook: func(point string) {
		if point == "finalize:moved" { // its bits are still there
			memory, err = usedMemory(ctx, b.redis)
		}
	}})
	if err := p.Setup(ctx); err != nil {
		return 0, 0, err
	}
	before, err := usedMemory(ctx, b.redis)
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if recountErr := p.Recount(ctx, 0); recountErr != nil || err != nil {
		return 0, 0, errors.Join(recountErr, err)
	}
	return time.Since(start).Seconds(), memory - before, nil
}

// bare is what a query takes with all its rows; a count(*) around it would keep
// Postgres from summing up.
func (b *recountBench) bare(ctx context.Context, sql string) (float64, error) {
	start := time.Now()
	rows, err := b.DB.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	for rows.Next() {
	}
	return time.Since(start).Seconds(), rows.Err()
}

// change commits 2,000 changes a second, sizes and some rows that move, whenever it
// was last told true.
func (b *recountBench) change(ctx context.Context, changing <-chan bool) error {
	next := time.NewTicker(recountEvery)
	defer next.Stop()
	for on := false; ; {
		select {
		case on = <-changing:
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if !on {
			continue
		}
		ids := make([]int64, recountChange)
		for i := range ids {
			ids[i] = rand.Int64N(int64(b.resources)) + 1
		}
		_, err := b.DB.Exec(ctx, "UPDATE artifacts SET size = size + 1, project = CASE WHEN id % 10 = 0 THEN project + 1 ELSE project END WHERE id = ANY($1)", ids)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// once is one recount, from the request until all of it is swapped in. It notes the
// number of Redis's keys while it went on.
func (b *recountBench) once(ctx context.Context, r recount.Request) (seconds float64, err error) {
	start := time.Now()
	scan, _, err := b.recounts.Refresh(ctx, r)
	if err != nil {
		return 0, err
	}
	for {
		var over bool
		err := b.DB.QueryRow(ctx, "SELECT finished_at IS NOT NULL FROM casq.scans WHERE id = $1", scan).Scan(&over)
		if err != nil {
			return 0, err
		}
		if over {
			return time.Since(start).Seconds(), nil
		}
		if b.keys, err = b.redis.DBSize(ctx).Result(); err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// same waits until what was changed last is flushed, and compares.
func (b *recountBench) same(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var differ int
		if err := b.DB.QueryRow(ctx, recountSQL.Same).Scan(&differ); err != nil {
			return fmt.Errorf("compare, with %d counters that differ: %w", differ, err)
		}
		if differ == 0 {
			return nil
		}
	}
}
