package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/testing/runnerclient"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	lateBy       = time.Minute
	burstBuilds  = 100
	waitRequests = 5000
	waitIdle     = 10 * time.Second
)

// latePickup: pickup with a standby that is late by a minute, and without Redis; against
// the same without a standby.
func latePickup(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	alone, err := newBuildSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alone.close()) }()
	late, pool, err := newLateSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, late.close()) }()
	defer pool.Close()
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for name, b := range map[string]*buildSite{"alone": alone, "late": late} {
			took, err := b.pickUp(ctx)
			if err != nil {
				return err
			}
			f.Add(name, took...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("pickup with a standby %s late and Redis stopped; reference: pickup without a standby", lateBy)
	return []measure.Result{
		figures.CompareAt(50, "late/p50", "late", "alone", "ms", note), figures.CompareAt(99, "late/p99", "late", "alone", "ms", note),
	}, nil
}

// newLateSite has a standby that is late, and no Redis.
func newLateSite(ctx context.Context) (*buildSite, *pgxpool.Pool, error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, nil, err
	}
	pool, err := s.lateStandby(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	b, err := s.coordinate(ctx, runner.Options{Hold: startedWithin, SiblingHold: startedWithin, Standbys: []*pgxpool.Pool{pool}})
	return b, pool, err
}

// lateStandby starts a standby that is late, and stops Redis.
func (s *site) lateStandby(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := s.addStandby(ctx)
	if err != nil {
		return nil, err
	}
	standby := s.Standbys[len(s.Standbys)-1]
	if err := errors.Join(standby.SetApplyDelay(ctx, lateBy), s.Site.Redis.Stop(ctx)); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// process is one of a runner on this site.
func (b *buildSite) process(token string) *runnerclient.Process {
	return &runnerclient.Process{Token: token, System: "s_bench", Coordinators: []string{b.server.URL}, HTTP: b.client}
}

// next asks until there is a build.
func next(ctx context.Context, p *runnerclient.Process) (*runnerclient.Job, error) {
	for {
		if j, err := p.Request(ctx); j != nil || err != nil {
			return j, err
		}
	}
}

// burst: milliseconds from the commit of a hundred builds until a runner that asks for one
// at a time has the last; against a loop that takes a hundred rows.
func burst(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	b, err := newBuildSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	p := b.process(b.tokens[0])
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		if _, err := b.DB.Exec(ctx, bareSQL+fmt.Sprintf("; INSERT INTO public.bare (job) SELECT '{}' FROM generate_series(1, %d)", burstBuilds)); err != nil {
			return err
		}
		began := time.Now()
		for range burstBuilds {
			if _, err := b.DB.Exec(ctx, takeSQL); err != nil {
				return err
			}
		}
		f.Add("bare", measure.Milliseconds(began))
		if began, err = b.enqueue(ctx, burstBuilds, "linux"); err != nil {
			return err
		}
		for range burstBuilds {
			if _, err := next(ctx, p); err != nil {
				return err
			}
		}
		f.Add("ours", measure.Milliseconds(began))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("burst", "ours", "bare", "ms",
		fmt.Sprintf("from the commit of %d builds until one process that asks for one at a time has the last, over HTTP; reference: UPDATE of the first row by SKIP LOCKED as often, without HTTP", burstBuilds))}, nil
}

// sibling: milliseconds until a runner has its build whose process asks for another runner
// first, and waits; the longest. Against the same runner when its process asks for both at
// once.
func sibling(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	var longest [2]float64
	for i, together := range []bool{true, false} {
		s, err := newSite(ctx)
		if err != nil {
			return nil, err
		}
		b, err := s.coordinate(ctx, runner.Options{})
		if err != nil {
			return nil, err
		}
		longest[i], err = b.siblings(ctx, m, together)
		if err = errors.Join(err, b.close()); err != nil {
			return nil, err
		}
	}
	return []measure.Result{{
		Bench: "sibling", Ours: longest[1], Reference: longest[0], Unit: "ms",
		Note: fmt.Sprintf("from the commit of a build until its runner has it, in whose process another runner's request is held meanwhile, the longest of %d; reference: the process asks for both at once", measure.Rounds),
	}}, nil
}

func (b *buildSite) siblings(ctx context.Context, m *measure.Bench, together bool) (longest float64, err error) {
	var token string
	if err := b.DB.QueryRow(ctx, "SELECT token FROM casq.create_runner('sibling', tags => '{other}')").Scan(&token); err != nil {
		return 0, err
	}
	held, wanted := b.process(b.tokens[0]), b.process(token)
	asking, halt := context.WithCancel(ctx)
	had, done := make(chan time.Time), make(chan struct{}, 2)
	ask := func(all ...*runnerclient.Process) {
		defer func() { done <- struct{}{} }()
		for asking.Err() == nil {
			for _, p := range all {
				if j, err := p.Request(asking); err == nil && j != nil {
					had <- time.Now()
				}
			}
		}
	}
	goers := [][]*runnerclient.Process{{held, wanted}}
	if together {
		goers = [][]*runnerclient.Process{{held}, {wanted}}
	}
	for _, all := range goers {
		go ask(all...)
	}
	defer func() {
		halt()
		for range goers {
			<-done
		}
	}()
	_, err = m.Rounds(ctx, func(*measure.Figures) error {
		// Anywhere in the time that the other one is held for.
		time.Sleep(500*time.Millisecond + rand.N(5*time.Second))
		committed, err := b.enqueue(ctx, 1, "other")
		if err != nil {
			return err
		}
		select {
		case at := <-had:
			longest = max(longest, float64(at.Sub(committed))/float64(time.Millisecond))
			return nil
		case <-time.After(2 * startedWithin):
			return errors.New("the sibling's build waits")
		}
	})
	return longest, err
}

// parked is what it costs to have requests wait.
type parked struct{ memory, cpu, queries, writes, redis float64 }

// waiting: what 5,000 requests cost that wait in one process; against 50 of them, and of
// memory against a handler of net/http that does nothing but wait.
func waiting(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	bare, err := parkBare(ctx)
	if err != nil {
		return nil, err
	}
	m.Say("%d requests", benchRunners)
	few, err := parkOurs(ctx, 1)
	if err != nil {
		return nil, err
	}
	m.Say("%d requests", waitRequests)
	many, err := parkOurs(ctx, waitRequests/benchRunners)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d requests wait in one process for %s, nothing happens; reference: %d", waitRequests, waitIdle, benchRunners)
	return []measure.Result{
		{Bench: "waiting/memory", Ours: many.memory, Reference: bare, Unit: "KiB", Note: fmt.Sprintf("heap and stacks for each of %d requests that wait; reference: in a handler that only waits", waitRequests)},
		{Bench: "waiting/cpu", Ours: many.cpu, Reference: few.cpu, Unit: "% of a core", Note: note},
		{Bench: "waiting/queries", Ours: many.queries, Reference: few.queries, Unit: "transactions/s", Note: note},
		{Bench: "waiting/writes", Ours: many.writes, Reference: few.writes, Unit: "rows/s", Note: note},
		{Bench: "waiting/redis", Ours: many.redis, Reference: few.redis, Unit: "commands/s", Note: note + "; one command is the question"},
	}, nil
}

// park sends requests that are held, and returns what their memory is, for each, when all
// wait.
func park(ctx context.Context, server *httptest.Server, bodies []string, waiting *atomic.Int64) (each float64, end func(), err error) {
	var conns []net.Conn
	end = func() {
		for _, conn := range conns {
			_ = conn.Close() // nothing was to be read
		}
	}
	before := inUse()
	for _, body := range bodies {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		if err != nil {
			return 0, end, err
		}
		conns = append(conns, conn)
		if _, err := fmt.Fprintf(conn, "POST /api/v4/jobs/request HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			return 0, end, err
		}
	}
	for began := time.Now(); waiting.Load() < int64(len(bodies)); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > startedWithin {
			return 0, end, fmt.Errorf("only %d of %d requests wait", waiting.Load(), len(bodies))
		}
	}
	return (inUse() - before) / 1024 / float64(len(bodies)), end, nil
}

// inUse is the memory of this process that is in use, in bytes.
func inUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}

func parkBare(ctx context.Context) (each float64, err error) {
	var waiting atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		waiting.Add(1)
		<-r.Context().Done()
	}))
	defer server.Close()
	each, end, err := park(ctx, server, make([]string, waitRequests), &waiting)
	end()
	return each, err
}

func parkOurs(ctx context.Context, ofEach int) (cost parked, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return cost, err
	}
	var waiting atomic.Int64
	b, err := s.coordinate(ctx, runner.Options{Hold: 2 * time.Minute, SiblingHold: 2 * time.Minute, Hook: func(point string) {
		if point == "waiting" {
			waiting.Add(1)
		}
	}})
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var bodies []string
	for i := range ofEach {
		for n, token := range b.tokens {
			bodies = append(bodies, fmt.Sprintf(`{"token":%q,"system_id":"s_%d_%d"}`, token, n, i))
		}
	}
	each, end, err := park(ctx, b.server, bodies, &waiting)
	defer end()
	if err != nil {
		return cost, err
	}
	return b.idle(ctx, each)
}

// idle measures for a while in which nothing happens.
func (b *buildSite) idle(ctx context.Context, memory float64) (cost parked, err error) {
	// What has just been done is counted a second later.
	time.Sleep(3 * time.Second)
	before, err := b.counts(ctx)
	if err != nil {
		return cost, err
	}
	time.Sleep(waitIdle)
	after, err := b.counts(ctx)
	per := func(a, b float64) float64 { return (b - a) / waitIdle.Seconds() }
	return parked{
		memory: memory, cpu: 100 * per(before.cpu, after.cpu), queries: per(before.queries, after.queries),
		writes: per(before.writes, after.writes), redis: per(before.redis, after.redis),
	}, err
}

// counts are what this process and its servers have come to.
func (b *buildSite) counts(ctx context.Context) (c parked, err error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return c, err
	}
	c.cpu = (time.Duration(usage.Utime.Nano() + usage.Stime.Nano())).Seconds()
	err = b.DB.QueryRow(ctx, `SELECT xact_commit + xact_rollback,
			(SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables)::float8
		FROM pg_stat_database WHERE datname = current_database()`).Scan(&c.queries, &c.writes)
	if err != nil {
		return c, err
	}
	stats, err := b.redis.Info(ctx, "stats").Result()
	if err != nil {
		return c, err
	}
	_, rest, _ := strings.Cut(stats, "total_commands_processed:")
	_, err = fmt.Sscan(rest, &c.redis)
	return c, err
}
