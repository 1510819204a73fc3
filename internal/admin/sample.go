package admin

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/queries"
	"casq/jobs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed sample.sql
var sampleText string

// sampleSQL has the statements of sample.sql.
var sampleSQL = queries.Parse[struct {
	Health, Lags, Kinds, Failures, Tick, Workers, Followers, Queues, Counters, Recounts, Reconciles, Builds, DeadLetters, Requests string
	Resource, History, Why, Near, Touched, QueueServed, Recorded, RequestJob                                                       string
}]("admin", sampleText)

// mostCounted is how far jobs and builds are counted, mostLetters how many dead letters are
// grouped: each of these is a page of its table.
const (
	mostCounted = 1000
	mostLetters = 200
)

// sampleTimeout is for each query of a sample, wholeTimeout for all of them.
const (
	sampleTimeout = 3 * time.Second
	wholeTimeout  = 20 * time.Second
)

// sample is what the database said at one time.
type sample struct {
	At          time.Time
	Health      []problem
	Lags        []late
	Kinds       []kind
	Failures    []failures
	Cursors     []cursor.State
	Ticks       []tick // the newest one, or none
	Workers     []worker
	Standbys    []lag
	Followers   []follower
	Queues      []queue
	Counters    []counters // one, or none
	Recounts    []recount
	Reconciles  []reconcile
	Builds      []builds // one
	DeadLetters []deadLetters
	Requests    []request
	// Missing are the parts that could not be read, and why.
	Missing []string

	away error // why the database was given up on meanwhile
}

// problem is something that is not as it should be; of severity ok there is none.
type problem struct {
	Severity, What string
	Since          *time.Time
	Command        string
}

// late is how late the copies of a kind are, in seconds, in all and in each stage; nil: not
// known.
type late struct {
	Kind                                        string
	Lag, ToStandby, ToRegistry, InQueue, InCopy *float64
	Resources                                   int64
	Oldest                                      string // its key, where the jobs name it
}

type kind struct {
	Kind, Transfer       string
	Synced, Open, Failed int64
	Absent               int64
	Bytes                int64
	Oldest               *time.Time
	Counted              bool // has counters
	// Rate is how many more than before are in place or done with, a minute; ETA when
	// nothing is left at that rate. From the samples before.
	Rate float64       `db:"-"`
	ETA  time.Duration `db:"-"`
}

// Total is how many are wanted, or still to be removed.
func (k kind) Total() int64 { return k.Synced + k.Open + k.Failed }

type failures struct {
	Kind, Reason string
	Count        int64
	First, Last  *time.Time
}

type tick struct {
	ID       int64
	Timeline int32
	TakenAt  time.Time
}

type worker struct {
	Host          string
	PID           int32
	Version       string
	Started, Beat time.Time
	Silent        bool
	Roles         []string
	Waiting       string
}

// lag is how far a standby is.
type lag struct {
	Name   string
	Behind int64 // bytes of the log
	Error  string
}

type follower struct {
	Name     string
	Tick     int64
	Reported time.Time
}

// queue has its jobs counted up to mostCounted.
type queue struct {
	Name                       string
	PausedAt                   *time.Time
	Waiting, Running, Retrying int64
}

type counters struct {
	Shards int64
	Age    float64 // of the oldest event that is not flushed, in seconds
	Moved  time.Time
}

type recount struct {
	ID    int64
	Kind  string
	Check bool
	State string
	Rows  int64
	Asked time.Time
}

type reconcile struct {
	ID                           int64
	Kind, Reason, Phase, Waiting string
	Asked                        time.Time
}

type builds struct {
	Queued, Held, Running int64 // up to mostCounted
	Runners, Paused       int64
	Oldest                *time.Time
}

type deadLetters struct {
	Cursor, Kind, Reason string
	Count                int64
	First, Last          time.Time
}

type request struct {
	ID                       uuid.UUID
	Asked                    time.Time
	Actor, Role, Via, Action string
	Touches                  *int64
	Changed                  map[string]int64
	State                    string // of its job, if it has one that is still known
}

// Runs tells whether a job works on it, or will.
func (r request) Runs() bool {
	return slices.Contains([]string{"available", "scheduled", "retryable", "running"}, r.State)
}

// Done is how many resources it has touched.
func (r request) Done() int64 {
	if n := r.Changed["registry"]; n > 0 || r.State == "" {
		return n
	}
	return max(r.Changed["river_job"]-1, 0) // verifications, without the job that asks for them
}

// Most is how many it was said to touch, or has touched if that is more.
func (r request) Most() int64 {
	if r.Touches == nil {
		return max(r.Done(), 1)
	}
	return max(*r.Touches, r.Done(), 1)
}

// read takes a sample. The error is that of a database that does not answer; of one that
// does, parts may be missing.
func (s *Server) read(ctx context.Context) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, wholeTimeout)
	defer cancel()
	if err := s.ping(ctx); err != nil {
		return nil, err
	}
	a := &sample{At: time.Now()}
	a.Health = part[problem](ctx, s, a, "health", sampleSQL.Health)
	a.Lags = part[late](ctx, s, a, "how late copies are", sampleSQL.Lags)
	a.Kinds = part[kind](ctx, s, a, "kinds", sampleSQL.Kinds)
	a.Failures = part[failures](ctx, s, a, "failures", sampleSQL.Failures)
	s.ask(ctx, a, "cursors", func(ctx context.Context) (err error) {
		a.Cursors, err = cursor.States(ctx, s.home)
		return err
	})
	a.Ticks = part[tick](ctx, s, a, "the log", sampleSQL.Tick)
	a.Workers = part[worker](ctx, s, a, "workers", sampleSQL.Workers)
	a.Followers = part[follower](ctx, s, a, "other sites", sampleSQL.Followers)
	a.Queues = part[queue](ctx, s, a, "queues", sampleSQL.Queues, mostCounted)
	a.Counters = part[counters](ctx, s, a, "counters", sampleSQL.Counters)
	a.Recounts = part[recount](ctx, s, a, "recounts", sampleSQL.Recounts)
	a.Reconciles = part[reconcile](ctx, s, a, "reconciles", sampleSQL.Reconciles)
	a.Builds = part[builds](ctx, s, a, "builds", sampleSQL.Builds, mostCounted)
	a.DeadLetters = part[deadLetters](ctx, s, a, "dead letters", sampleSQL.DeadLetters, mostLetters)
	a.Requests = part[request](ctx, s, a, "requests", sampleSQL.Requests)
	if a.away == nil {
		a.Standbys = s.lags(ctx)
	}
	return a, a.away
}

func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	return s.home.Ping(ctx)
}

// part reads one part of a sample, or notes that it is missing.
func part[T any](ctx context.Context, s *Server, a *sample, what, sql string, args ...any) (rows []T) {
	s.ask(ctx, a, what, func(ctx context.Context) (err error) {
		rows, err = list[T](ctx, s.home, sql, args...)
		return err
	})
	return rows
}

// ask calls read, with its time limited, unless the database was given up on.
func (s *Server) ask(ctx context.Context, a *sample, what string, read func(context.Context) error) {
	if a.away != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	if err := read(limited); err != nil {
		a.missing(what, err)
	}
	if limited.Err() != nil { // this part alone is slow, or the database hangs
		a.away = s.ping(ctx)
	}
}

func (a *sample) missing(what string, err error) {
	a.Missing = append(a.Missing, fmt.Sprintf("%s: %s", what, database.Explain(err)))
}

// list returns the rows of a statement, which is carried out along indexes.
func list[T any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (all []T, err error) {
	var batch pgx.Batch // is one transaction, and one round trip
	batch.Queue(database.ByIndex)
	batch.Queue(sql, args...)
	results := pool.SendBatch(ctx, &batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// lags asks the standbys how far they are.
func (s *Server) lags(ctx context.Context) []lag {
	if len(s.standbys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	var all []lag
	for _, b := range s.standbys {
		l := lag{Name: b.name}
		var at string
		err := b.pool.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn()::text, '')").Scan(&at)
		if err == nil && at == "" {
			l.Error = "is not a standby"
		} else if err == nil {
			err = s.home.QueryRow(ctx, "SELECT greatest(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn), 0)::bigint", at).Scan(&l.Behind)
		}
		if err != nil {
			l.Error = database.Explain(err)
		}
		all = append(all, l)
	}
	return all
}

// total sums up one number of each queue, but not those of requests themselves.
func (a *sample) total(of func(queue) int64) (n int64) {
	for _, q := range a.Queues {
		if q.Name != jobs.RequestQueue {
			n += of(q)
		}
	}
	return n
}
