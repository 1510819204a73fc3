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

	"casq/internal/testing/runnerclient"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	lateBy       = time.Minute
	burstBuilds  = 100
	waitRounds   = 5
	waitRequests = 5000
	waitIdle     = 10 * time.Second
)

// latePickup: pickup with a standby that is late by a minute, and without Redis; against
// the same without a standby.
func latePickup(ctx context.Context) (_ []result, err error) {
	var all [2][]float64
	for i, late := range []bool{false, true} {
		if all[i], err = pickUpLate(ctx, late); err != nil {
			return nil, err
		}
	}
	note := fmt.Sprintf("pickup with a standby %s late and Redis stopped; reference: pickup without a standby", lateBy)
	return []result{
		{Bench: "late/p50", Ours: percentile(all[1], 50), Reference: percentile(all[0], 50), Unit: "ms", Note: note},
		{Bench: "late/p99", Ours: percentile(all[1], 99), Reference: percentile(all[0], 99), Unit: "ms", Note: note},
	}, nil
}

func pickUpLate(ctx context.Context, late bool) (_ []float64, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	options := runner.Options{Hold: startedWithin, SiblingHold: startedWithin}
	if late {
		pool, err := s.lateStandby(ctx)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		defer pool.Close()
		options.Standbys = []*pgxpool.Pool{pool}
	}
	b, err := s.coordinate(ctx, options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	return b.pickUp(ctx)
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
func burst(ctx context.Context) (_ []result, err error) {
	b, err := newBuildSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	p := b.process(b.tokens[0])
	var ours, reference []float64
	for range waitRounds {
		if _, err := b.DB.Exec(ctx, bareSQL+fmt.Sprintf("; INSERT INTO public.bare (job) SELECT '{}' FROM generate_series(1, %d)", burstBuilds)); err != nil {
			return nil, err
		}
		began := time.Now()
		for range burstBuilds {
			if _, err := b.DB.Exec(ctx, takeSQL); err != nil {
				return nil, err
			}
		}
		reference = append(reference, milliseconds(began))
		if began, err = b.enqueue(ctx, burstBuilds, "linux"); err != nil {
			return nil, err
		}
		for range burstBuilds {
			if _, err := next(ctx, p); err != nil {
				return nil, err
			}
		}
		ours = append(ours, milliseconds(began))
	}
	return []result{{
		Bench: "burst", Ours: median(ours), Reference: median(reference), Unit: "ms",
		Note: fmt.Sprintf("from the commit of %d builds until one process that asks for one at a time has the last, over HTTP; reference: UPDATE of the first row by SKIP LOCKED as often, without HTTP; %d rounds", burstBuilds, waitRounds),
	}}, nil
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since)) / float64(time.Millisecond)
}

// sibling: milliseconds until a runner has its build whose process asks for another runner
// first, and waits; the longest. Against the same runner when its process asks for both at
// once.
func sibling(ctx context.Context) (_ []result, err error) {
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
		longest[i], err = b.siblings(ctx, together)
		if err = errors.Join(err, b.close()); err != nil {
			return nil, err
		}
	}
	return []result{{
		Bench: "sibling", Ours: longest[1], Reference: longest[0], Unit: "ms",
		Note: fmt.Sprintf("from the commit of a build until its runner has it, in whose process another runner's request is held meanwhile, the longest of %d; reference: the process asks for both at once", waitRounds),
	}}, nil
}

func (b *buildSite) siblings(ctx context.Context, together bool) (longest float64, err error) {
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
	for range waitRounds {
		// Anywhere in the time that the other one is held for.
		time.Sleep(500*time.Millisecond + rand.N(6*time.Second))
		committed, err := b.enqueue(ctx, 1, "other")
		if err != nil {
			return 0, err
		}
		select {
		case at := <-had:
			longest = max(longest, float64(at.Sub(committed))/float64(time.Millisecond))
		case <-time.After(2 * startedWithin):
			return 0, errors.New("the sibling's build waits")
		}
	}
	return longest, nil
}

// parked is what it costs to have requests wait.
type parked struct{ memory, cpu, queries, writes, redis float64 }

// waiting: what 5,000 requests cost that wait in one process; against 50 of them, and of
// memory against a handler of net/http that does nothing but wait.
func waiting(ctx context.Context) (_ []result, err error) {
	bare, err := parkBare(ctx)
	if err != nil {
		return nil, err
	}
	few, err := parkOurs(ctx, 1)
	if err != nil {
		return nil, err
	}
	many, err := parkOurs(ctx, waitRequests/benchRunners)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d requests wait in one process for %s, nothing happens; reference: %d", waitRequests, waitIdle, benchRunners)
	return []result{
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
