package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/eventlog"
	"casq/internal/process"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrSuperseded says that the token is not the row's version any more, or
	// that the version is in place already, or that what it removes is kept for a move,
	// whose end queues another job: there is nothing to do.
	ErrSuperseded = errors.New("superseded")

	// ErrHandedOver says that another run holds the resource's claim. That run has
	// been asked, and puts a job in the queue when it gives its claim back.
	ErrHandedOver = errors.New("handed over to the run that holds the claim")

	// ErrFenced says that the claim was taken over: nothing was written.
	ErrFenced = errors.New("fenced: the claim was taken over")

	// ErrReplaced says that the resource was deleted, or replaced by another one
	// under its key, while a run worked on it. It is the cause of the end of the
	// run's context; the run's end, whichever it is, is then told [ErrSuperseded].
	ErrReplaced = errors.New("the resource was deleted or replaced meanwhile")

	// ErrProcessLost says that this process was taken for dead, or that home has
	// failed over.
	ErrProcessLost = process.ErrLost
)

// TakenError says that a resource of another kind has the place of a resource: kinds that
// share a tree have keys that collide. Nothing was written but the failure, and when
// it is tried again.
type TakenError struct {
	Why     string // both kinds, and the other's key
	RetryIn time.Duration
	First   bool // it was not refused before, in this version
}

func (e *TakenError) Error() string { return e.Why }

// Token names a version of a resource. It is what a job carries.
type Token struct {
	Kind       string
	ResourceID string
	Version    int64
}

// Job is work to be queued: bring the resource to the token's version.
type Job struct {
	Token
	Deleted bool // the resource is to be removed
	Urgency Urgency
}

// Urgency says which jobs come first in a queue: all that are more urgent are worked
// on before all that are less so, however long those wait. See "Urgency" in DESIGN.md.
type Urgency int

// The urgencies, the most urgent first. Verifications come after them.
const (
	// Prompt is for work that somebody waits for: an application's events, a resync of
	// one resource, runs that were handed over, what a dead process left, repairs.
	Prompt Urgency = iota
	// Compared is for what a comparison with the source has found.
	Compared
	// Bulk is for a resync of many, a move of a kind, and a backfill.
	Bulk
)

// Jobs queues work in a transaction that is under way. Insert is called with
// row locks held; bulk is set by the log's batches, where it may be COPY: a process
// that is frozen inside of one escapes every time-out, and there the next holder ends
// its session.
type Jobs interface {
	Insert(ctx context.Context, tx pgx.Tx, jobs []Job, bulk bool) error
}

// InsertJobs queues jobs while rows are locked.
func InsertJobs(ctx context.Context, tx pgx.Tx, jobs Jobs, wanted []Job) error {
	if len(wanted) == 0 {
		return nil
	}
	if err := jobs.Insert(ctx, tx, wanted, false); err != nil {
		return fmt.Errorf("queue %d jobs: %w", len(wanted), err)
	}
	return nil
}

// Queue is what the sweep needs of the job queue beyond [Jobs]: a page of the
// jobs that it believes to be running in processes which are dead, or have no
// row in casq.processes, and a way to write them off.
type Queue interface {
	Jobs
	Orphans(ctx context.Context) (tokens []Token, jobs []int64, err error)
	Abandon(ctx context.Context, jobs []int64) error
}

// Config of a [Registry].
type Config struct {
	Pool   *pgxpool.Pool // home
	Jobs   Jobs
	Logger *slog.Logger
	// PublishTimeout bounds one rename or ref update inside the commit's
	// transaction. It must be shorter than the sessions' idle time-out.
	// Defaults to 3 s.
	PublishTimeout time.Duration
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Registry is the registry of one home database. It is safe for concurrent
// use; claims and results of concurrent jobs are batched into few
// transactions.
type Registry struct {
	cfg     Config
	process *Process
	claims  batcher[*claiming]
	results batcher[*completion]
}

// New returns the registry for the runs of process.
func New(cfg Config, process *Process) *Registry {
	cfg.PublishTimeout = cmp.Or(cfg.PublishTimeout, 3*time.Second)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	r := &Registry{cfg: cfg, process: process}
	r.claims = batcher[*claiming]{limit: claimGroup, run: r.claimAll}
	r.results = batcher[*completion]{limit: completeGroup, run: r.completeAll}
	return r
}

// Claim is one run's right to work on one version of a resource.
type Claim struct {
	Token
	ID          uuid.UUID
	Payload     []byte // a JSON object, as of the token's version
	Deleted     bool   // remove it
	Incarnation int64
	Fresh       bool   // nothing of what is in place may be used: it is of an earlier incarnation of the key, or damaged
	Checksum    string // of what is in place, as the run that put it there has said; "": not known
	First       bool   // no run of any version has put anything in place yet, as far as the row tells
	Nothing     bool   // nothing is in place, as far as the row tells: it is the first, or what was there was removed
	Attempts    int    // runs of this version so far, this one included

	// Moved says that a move to the resource is under way. Base is what the copy is made
	// of, where its event has told: a copy of this very resource, under the key that it had.
	Moved bool
	Base  Base
	// Aside is the incarnation of what is in place, where that is of a resource that
	// lives under another key by now and has no copy there: it is put aside before anything
	// takes its place. 0: it is not.
	Aside int64

	// The event of the source that the version was asked for by, and its position.
	Timeline      int32
	EventID, Tick int64

	// Of is the kind's definition when the claim was granted. A kind that is moved
	// later takes the claim away.
	Of eventlog.Kind
}
