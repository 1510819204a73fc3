package runner

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed pick.sql
var pickText string

// pickSQL has the statements of pick.sql.
var pickSQL = queries.Parse[struct {
	Impatient, ByIndex, LockRunner, Pick, PickTogether, Waits, Queued, NewestQueued, Lanes, Still, TagSets, GiveBack, GiveBackAll, Dependencies string
}]("runner/pick", pickText)

// Options of [New]. The zero value is what most callers want.
type Options struct {
	// Standbys of the database. A request that finds no build there is not a question to
	// the primary. They may be as late as they like.
	Standbys []*pgxpool.Pool
	// ReadPrimary has every poll go to the primary, for an operator in trouble.
	ReadPrimary bool
	// NoShortcut has every request poll, also one whose runner says that it has heard the
	// newest. For an operator in trouble.
	NoShortcut bool

	// Hold is how long a request waits for a build. Defaults to 50 s.
	Hold time.Duration
	// SiblingHold is that of runners in one process whose requests come one after the
	// other, so that one that waits keeps the next from asking. Defaults to 3 s.
	SiblingHold time.Duration
	// MostWaiting is how many requests wait at once, and MostOfRunner how many of one
	// runner; others are answered at once. Default to 10,000 and 100.
	MostWaiting, MostOfRunner int

	// StartWithin is how long a runner may show no sign of life after it was given a build
	// until that is given to another. Defaults to 2 min.
	StartWithin time.Duration
	// TraceInterval is how often runners are told to report. Defaults to 3 s.
	TraceInterval time.Duration
	// SilentAfter is how long nothing may be heard of a runner that has begun; never less
	// than four times TraceInterval. Defaults to 10 min.
	SilentAfter time.Duration

	// MostTrace is how many bytes of a build's log are kept. Defaults to 100 MiB.
	MostTrace int64
	// Artifacts keeps the files that builds leave. Without it none are taken.
	Artifacts FileStore
	// MostArtifact is how many bytes such a file may have. Defaults to 1 GiB.
	MostArtifact int64
	// BodyWithin is how long the body of a call may take to arrive; that of a file each piece,
	// and all of it as long as 4 KiB a second take, and so long. Defaults to 30 s.
	BodyWithin time.Duration
	// LateAfter is by how much a runner may be late with the end of a build that ran out of
	// its time: it ends it itself. Defaults to 2 min.
	LateAfter time.Duration
	// SweepEvery is how often attempts that are overdue are looked for, and ContactsEvery
	// how often it is written down who was heard of. Default to 5 s and 1 min.
	SweepEvery, ContactsEvery time.Duration

	// Poll is how often the primary is asked for new builds while requests wait, Recheck
	// how often for any. Default to 15 ms and 5 s.
	Poll, Recheck time.Duration
	// Picks is how many picks run at once. Defaults to 8.
	Picks int

	Logger *slog.Logger // defaults to [slog.Default]
	// Picked is called after each look for a build on the primary, with what came of it, a
	// word; HandedOut with how long a build could have been picked that was handed to its
	// runner. They must be quick. May be nil.
	Picked    func(outcome string)
	HandedOut func(waited time.Duration)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

func (o Options) withDefaults() Options {
	o.Hold = cmp.Or(o.Hold, 50*time.Second)
	o.SiblingHold = min(cmp.Or(o.SiblingHold, 3*time.Second), o.Hold)
	o.MostWaiting = cmp.Or(o.MostWaiting, 10_000)
	o.MostOfRunner = cmp.Or(o.MostOfRunner, 100)
	o.StartWithin = cmp.Or(o.StartWithin, 2*time.Minute)
	o.TraceInterval = cmp.Or(o.TraceInterval, 3*time.Second)
	o.SilentAfter = max(cmp.Or(o.SilentAfter, 10*time.Minute), 4*o.TraceInterval)
	o.MostTrace = cmp.Or(o.MostTrace, 100<<20)
	o.MostArtifact = cmp.Or(o.MostArtifact, 1<<30)
	o.BodyWithin = cmp.Or(o.BodyWithin, 30*time.Second)
	o.LateAfter = cmp.Or(o.LateAfter, 2*time.Minute)
	o.SweepEvery = cmp.Or(o.SweepEvery, 5*time.Second)
	o.ContactsEvery = cmp.Or(o.ContactsEvery, time.Minute)
	o.Poll = cmp.Or(o.Poll, 15*time.Millisecond)
	o.Recheck = cmp.Or(o.Recheck, 5*time.Second)
	o.Picks = cmp.Or(o.Picks, 8)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Hook == nil {
		o.Hook = func(string) {}
	}
	if o.Picked == nil {
		o.Picked = func(string) {}
	}
	if o.HandedOut == nil {
		o.HandedOut = func(time.Duration) {}
	}
	return o
}

// Coordinator hands builds out to runners. It is an [http.Handler] of the calls of
// GitLab Runner's API, below any prefix; [Coordinator.Run] does what has to be done
// beside requests. Any number of processes may have one on the same database.
type Coordinator struct {
	options Options
	primary *pgxpool.Pool
	log     *slog.Logger
	mux     *http.ServeMux

	room     *room
	news     *news
	tags     *tagSets
	runners  *runnerCache
	siblings *siblings
	contacts *contacts
	standby  standbys
	picks    chan struct{}
	lines    lines
	calls    *limits // by token
	wrong    *limits // wrong tokens, by address
	valid    valid
	// stopping is closed when requests are not to wait any more.
	stopping chan struct{}
	stop     func()
}

// New returns a coordinator on a migrated database, whose primary stays the caller's to
// close. Without [Coordinator.Run] nobody is woken.
func New(primary *pgxpool.Pool, options Options) *Coordinator {
	options = options.withDefaults()
	c := &Coordinator{
		options: options, primary: primary, log: options.Logger,
		room: newRoom(), news: newNews(), tags: &tagSets{db: primary}, runners: newRunnerCache(),
		siblings: newSiblings(), contacts: newContacts(), standby: standbys{pools: options.Standbys},
		calls: newLimits(callsPerSecond, callsAtOnce), wrong: newLimits(wrongPerSecond, wrongAtOnce),
		picks: make(chan struct{}, options.Picks), stopping: make(chan struct{}),
	}
	c.lines.init(c.picks, func() { options.Hook("in line") }, c.pickTogether)
	c.stop = sync.OnceFunc(func() { close(c.stopping) })
	c.mux = c.routes()
	return c
}

// Waiting is how many requests wait for a build.
func (c *Coordinator) Waiting() int { return c.room.size() }

// Run follows the log, wakes requests, ends attempts that are overdue, and writes down
// who was heard of, until ctx is done. Then requests that wait are answered at once, with
// what their runners knew before, and no others wait.
func (c *Coordinator) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { c.follow(ctx) })
	group.Go(func() { c.sweep(ctx) })
	group.Go(func() { c.tidy(ctx) })
	group.Go(func() {
		pause.Every(ctx, c.options.ContactsEvery, func() { c.round(ctx, "write down who was heard of", c.writeContacts) })
	})
	<-ctx.Done()
	c.stop()
	group.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	c.round(last, "write down who was heard of", c.writeContacts)
}

// round does one of the things that are done again and again: a failure is logged.
func (c *Coordinator) round(ctx context.Context, what string, f func(context.Context) error) bool {
	err := f(ctx)
	if err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "a round of the build queue failed, trying again", "round", what, "err", err)
	}
	return err == nil
}

// errHeld says that a transaction has held a row for longer than a statement of ours waits
// for it.
var errHeld = errors.New("somebody's transaction holds a row of it")

// change runs a statement that changes rows, in a transaction of its own, and returns how
// many; into takes a row that it returns.
//
// It waits a quarter of a second for a row that is locked, and then returns errHeld. A
// transaction that holds one, and is left open in a console, so holds up what it is about,
// and not all that shares this pool of connections.
func (c *Coordinator) change(ctx context.Context, into []any, sql string, args ...any) (rows int64, err error) {
	var batch pgx.Batch
	batch.Queue(pickSQL.Impatient)
	batch.Queue(sql, args...)
	results := c.primary.SendBatch(ctx, &batch)
	_, err = results.Exec()
	if into != nil {
		err = errors.Join(err, results.QueryRow().Scan(into...))
	} else {
		tag, execErr := results.Exec()
		rows, err = tag.RowsAffected(), errors.Join(err, execErr)
	}
	// What is deferred to the transaction's end may fail there.
	return rows, held(errors.Join(err, results.Close()))
}

// held is err, or errHeld where that is what it says.
func held(err error) error {
	if database.Code(err) == "55P03" {
		return fmt.Errorf("%w: %w", errHeld, err)
	}
	return err
}
