// Package worker is the long-running process: it takes on the roles that its
// configuration allows, and keeps each of them going.
//
//	ticker    takes ticks       home is the source, or has tracked tables, or
//	                            runners, and is not in recovery
//	counters  counts, and       home has a tracked table with a scope column, and is
//	          recounts          not in recovery
//	views     evaluates         home has a tracked view, and is not in recovery
//	          tracked views
//	registry  follows the log   a target is set
//	sync      copies, and       a target is set
//	          reconciles
//	runner    hands out builds  it has an address for runners
//	serve     sends files to    it has an address for them
//	          other sites
//
// Each of them also deletes, now and then, what is kept for long enough.
//
// Any number of workers may have the same roles. With Redis one of the tickers
// polls for events often, by a lease, and the others see to it each second that
// one does; without, all poll often.
package worker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/metrics"
	"casq/internal/pause"
	"casq/internal/queries"
	"casq/internal/view"
	"casq/jobs"
	"casq/migrations"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

//go:embed worker.sql
var workerText string

// workerSQL has the statements of worker.sql.
var workerSQL = queries.Parse[struct{ MayTick, MayCount, MayView, MayReindex, Neglected, Follower, Beat, Sight, HasResource string }]("worker", workerText)

// worker is one call of Run.
type worker struct {
	cfg    Config
	log    *slog.Logger
	home   *pgxpool.Pool
	source *pgxpool.Pool
	redis  redis.UniversalClient // nil where no Redis is configured
	queue  *jobs.Queue
	movers *movers
	// replicas are home's standbys.
	replicas []*pgxpool.Pool
	counters *counter.Counters
	recounts *recount.Recounts
	askable  atomic.Pointer[recount.Recounts] // recounts, for the page
	counting atomic.Bool                      // there is something to count
	roles    *roles
	metrics  *metrics.Metrics
	sight    sight
	served   atomic.Pointer[[]string] // queues; nil: none
	known    known                    // kinds
	runners  *runners                 // nil: it has no address for them
	// fileServer is nil where no address for other sites is set.
	fileServer *fileServer
	beating    sync.WaitGroup
	telling    sync.WaitGroup
	pulse      pulse
	// hanging is how many runs were left behind by sessions that have ended.
	hanging int
}

func newWorker(cfg Config) *worker {
	return &worker{cfg: cfg.withDefaults(), log: cfg.Logger, roles: newRoles(), metrics: metrics.New(), known: newKnown()}
}

// Run works until ctx is done, then stops within [StopTimeout], giving back
// what it has in hand. Databases that cannot be reached are waited for. It also stops,
// with an error, when home is migrated to what this program does not work on.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	w := newWorker(cfg)
	w.roles.wait("home")
	defer w.close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopHTTP, err := w.serveHTTP(ctx)
	if err != nil {
		return err
	}
	defer stopHTTP()
	stopAdmin, err := w.serveAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	if err := w.listenRunners(ctx); err != nil {
		return err
	}
	defer w.runners.close(ctx)
	if err := w.listenFiles(ctx); err != nil {
		return err
	}
	defer w.fileServer.close(ctx)
	w.telling.Go(func() { w.tellManager(ctx) })
	if err := w.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while it waited
		}
		return err
	}
	return w.work(ctx)
}

// open connects to everything, in the order in which it is needed.
func (w *worker) open(ctx context.Context) error {
	var err error
	w.sight.on = w.cfg.SourceURL != w.cfg.HomeURL
	if w.home, err = database.Open(ctx, w.cfg.HomeURL, database.Options{Application: "casq worker", MaxConns: 24}); err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	if w.source, err = database.Open(ctx, w.cfg.SourceURL, database.Options{Application: "casq follower", MaxConns: 4}); err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	for _, url := range w.cfg.ReplicaURLs {
		replica, err := database.Open(ctx, url, database.Options{Application: "casq reader", MaxConns: 4})
		if err != nil {
			return fmt.Errorf("open a standby of home: %w", err)
		}
		w.replicas = append(w.replicas, replica)
	}
	if err := w.openRunners(ctx); err != nil {
		return err
	}
	if err := database.Wait(ctx, w.home, "home", w.log); err != nil {
		return err
	}
	if w.cfg.Migrate {
		w.roles.wait("home's migrations")
		if err := migrations.Up(ctx, w.cfg.HomeURL, w.log); err != nil {
			return err
		}
	}
	if err := migrations.Check(ctx, w.home); err != nil {
		return fmt.Errorf("check home: %w", err)
	}
	w.beating.Go(func() { w.beat(ctx) })
	if err := w.openRedis(ctx); err != nil {
		return err
	}
	if err := w.waitFolders(ctx); err != nil {
		return err
	}
	if w.queue, err = jobs.NewQueue(w.home, w.riverLogger(), w.metrics.River()); err != nil {
		return err
	}
	w.tellMetrics()
	w.counters = w.newCounters()
	w.recounts = w.newRecounts()
	w.askable.Store(w.recounts)
	w.roles.wait("")
	return nil
}

// riverLogger keeps River's own notices below those of casq.
func (w *worker) riverLogger() *slog.Logger {
	return slog.New(atLeast{slog.LevelWarn, w.log.With("component", "river").Handler()})
}

// atLeast passes records of a level and above.
type atLeast struct {
	level slog.Level
	slog.Handler
}

// Enabled implements [slog.Handler].
func (h atLeast) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

func (w *worker) close() {
	w.beating.Wait()
	w.telling.Wait()
	for _, pool := range append(w.replicas, w.home, w.source) {
		if pool != nil {
			pool.Close()
		}
	}
	if w.redis != nil {
		_ = w.redis.Close() // nothing is under way any more
	}
	switch {
	case w.movers == nil:
	case w.hanging > 0:
		w.log.Warn("targets left open, runs hang", "runs", w.hanging)
	default:
		if err := w.movers.close(); err != nil {
			w.log.Warn("cannot close targets", "err", err)
		}
	}
}

// clockEvery is how often home's clock is read: for so long after it was moved, by
// hand or by a failover, jobs are stamped with the time of before.
const clockEvery = 2 * time.Second

// work runs all roles and returns when they have stopped.
func (w *worker) work(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.expect(ctx)
	w.log.InfoContext(ctx, "worker started", "roles", w.roles.names())
	var group sync.WaitGroup
	group.Go(func() { w.watchSchema(ctx, stop) })
	group.Go(func() { w.tick(ctx) })
	group.Go(func() { w.retain(ctx) })
	group.Go(func() { w.sample(ctx) })
	group.Go(func() { w.count(ctx) })
	group.Go(func() { w.views(ctx) })
	group.Go(func() {
		every(ctx, clockEvery, "read the clock", func() error { return w.queue.ReadClock(ctx) }, w.log)
	})
	if w.runners != nil {
		group.Go(func() { w.coordinate(ctx) })
	}
	if w.fileServer != nil {
		group.Go(func() { w.serveFiles(ctx) })
	}
	if w.cfg.copies() {
		group.Go(func() { w.follow(ctx) })
		group.Go(func() { w.watchLog(ctx) })
		group.Go(func() { w.report(ctx) })
		group.Go(func() { w.sync(ctx) })
		group.Go(func() {
			every(ctx, time.Second, "watch the folders", func() error { return w.watchFolders(ctx) }, w.log)
		})
	}
	group.Wait()
	w.log.InfoContext(ctx, "worker stopped")
	if cause := context.Cause(ctx); migrations.Unfit(cause) {
		return fmt.Errorf("check home: %w", cause)
	}
	return nil
}

// expect sets the roles that this worker has from the start, so that its first
// line names them all. Others may come, as tables become tracked.
func (w *worker) expect(ctx context.Context) {
	if may, err := w.mayTick(ctx); err == nil && may {
		w.roles.set("ticker", true, "")
	}
	if may, err := w.mayCount(ctx); err == nil && may {
		w.roles.set("counters", true, "")
	}
	if may, err := w.mayView(ctx); err == nil && may {
		w.roles.set(view.Cursor, true, "")
	}
	if w.runners != nil {
		w.roles.set("runner", true, "")
	}
	if w.fileServer != nil {
		w.roles.set(serveRole, false, "not started yet")
	}
	if w.cfg.copies() {
		w.roles.set("registry", true, "")
		w.roles.set("sync", false, "not started yet")
	}
}

// take and giveUp are for roles that come and go.
func (w *worker) take(ctx context.Context, role string) {
	if w.roles.set(role, true, "") {
		w.log.InfoContext(ctx, "role taken on", "role", role)
	}
}

func (w *worker) giveUp(ctx context.Context, role string) {
	if w.roles.drop(role) && ctx.Err() == nil {
		w.log.InfoContext(ctx, "role given up", "role", role)
	}
}

// follow is the registry's consumer. A log that does not continue stops the
// role and nothing else, until an operator has seen to it.
func (w *worker) follow(ctx context.Context) {
	if w.waitSource(ctx) != nil {
		return // stopped while it waited
	}
	c := cursor.New(cursor.Config{
		Name:     registry.Cursor,
		Source:   w.source,
		Home:     w.home,
		Listens:  w.cfg.SourceURL == w.cfg.HomeURL,
		Interval: w.followInterval(),
		Consumer: &registry.Transposer{Jobs: w.queue},
		Logger:   w.log,
		PageSize: w.cfg.PageSize,
		Redis:    w.redis,
		Lease:    w.cfg.CursorLease,
		Wait:     w.cfg.CursorWait,
		Applied:  w.applied,
		Hook:     w.cfg.Hook,
	})
	for {
		err := c.Run(ctx)
		if err == nil {
			return
		}
		w.roles.set("registry", false, database.Explain(err))
		if !w.continues(ctx) {
			return // stopped while it waited
		}
		w.roles.set("registry", true, "")
	}
}

// followInterval is how often the log is polled: where ticks are announced seldom enough not
// to cost anything, elsewhere so often that it does not matter that they are not.
func (w *worker) followInterval() time.Duration {
	if w.cfg.SourceURL == w.cfg.HomeURL {
		return eventlog.DefaultTickInterval
	}
	return eventlog.StandbyInterval
}

// every calls f, which does what, now and then at each interval until ctx is done.
func every(ctx context.Context, interval time.Duration, what string, f func() error, log *slog.Logger) {
	pause.Every(ctx, interval, func() { tell(ctx, what, f(), log) })
}

// tell logs why a round failed.
func tell(ctx context.Context, what string, err error, log *slog.Logger) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		log.WarnContext(ctx, "a round of the worker failed, trying again", "round", what, "err", err)
	}
}
