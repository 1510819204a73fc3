package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	follow "casq/internal/cursor"
	"casq/internal/queries"
	"casq/jobs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

//go:embed status.sql
var statusText string

// statusSQL has the statements of status.sql.
var statusSQL = queries.Parse[struct{ Failed, Lag, OpenRuns, OpenRecounts, CounterLag, Hindrance, Waited, Why, Near string }]("enqueue/status", statusText)

// mostLag is how far events beyond a cursor are counted.
const mostLag = 10_000

// status is what enqueue status shows; --json prints it as it is.
type status struct {
	Health    health      `json:"health"`
	Resources []resources `json:"resources"`
	Failed    []failed    `json:"failed"` // the reasons that most have
	// AtRisk is what would be lost here if the source were lost now, Followers what they
	// would lose with this site.
	AtRisk    []atRisk          `json:"at_risk"`
	Followers []follower        `json:"followers"`
	Log       logStatus         `json:"log"`
	Cursors   []*cursor         `json:"cursors"`
	Processes []process         `json:"processes"`
	Queues    []jobs.QueueState `json:"queues"`
	Failures  []failures        `json:"failures"`   // open ones
	Runs      []openRun         `json:"reconciles"` // that have not ended
	// Counters has one entry once a worker has begun to count.
	Counters []counterLag  `json:"counters"`
	Recounts []openRecount `json:"recounts"` // that have not ended
}

// health is how the site is, as home tells it: it is not asked of a standby.
type health struct {
	OK       bool      `json:"ok"`
	Sentence string    `json:"sentence"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Severity string     `json:"severity"`
	What     string     `json:"what"`
	Since    *time.Time `json:"since"`
	Command  string     `json:"command"` // to look at it
}

// atRisk is what is wanted of a kind, and not in place.
type atRisk struct {
	Kind      string  `json:"kind"`
	Resources int64   `json:"resources"`
	Bytes     float64 `json:"bytes"` // as far as it is known
}

// follower is a site that follows this log. What it has not applied is nil where this log
// does not have its tick, and what is not in place there where it has not told.
type follower struct {
	Name       string    `json:"name"`
	ReportedAt time.Time `json:"reported_at"`
	Events     *int64    `json:"events"`
	More       *bool     `json:"events_or_more"`
	EventBytes *float64  `json:"event_bytes"`
	Resources  *int64    `json:"resources"`
	Bytes      *float64  `json:"bytes"`
}

// counterLag says how far the flushed counters are behind the log.
type counterLag struct {
	Shards int64 `json:"shards"`
	// Age is that of the oldest event that is not flushed; 0: all are.
	Age     float64   `json:"buffer_age_seconds"`
	Ticks   int64     `json:"ticks_behind"`
	MovedAt time.Time `json:"moved_at"`
}

// openRecount is a recount that has not ended.
type openRecount struct {
	Scan        int64     `json:"scan"`
	Kind        string    `json:"kind"`
	Check       bool      `json:"check"`
	All         bool      `json:"all"`
	State       string    `json:"state"`
	Scopes      int64     `json:"scopes_left"`
	RequestedAt time.Time `json:"requested_at"`
}

// openRun is a reconcile that has not ended.
type openRun struct {
	Run         int64     `json:"run"`
	Kind        string    `json:"kind,omitempty"` // none: all
	Reason      string    `json:"reason"`
	DryRun      bool      `json:"dry_run"`
	State       string    `json:"state"`
	Waiting     string    `json:"waiting,omitempty"`
	RequestedAt time.Time `json:"requested_at"`
	Examined    int64     `json:"examined"`
}

type resources struct {
	Kind   string `json:"kind"`
	Status string `json:"status"`
	Count  int64  `json:"count"`
	Bytes  int64  `json:"bytes"` // in place
	// Oldest is when the one was asked for that has waited longest, to ten seconds; nil for
	// what waits for nothing.
	Oldest *time.Time `json:"oldest"`
}

// failed are resources of a kind that have failed for one reason.
type failed struct {
	Kind   string    `json:"kind"`
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	First  time.Time `json:"first_seen"`
	Last   time.Time `json:"last_seen"`
}

// logStatus is of the database that the events are in. Tick is nil where no tick
// was taken, Error set where it cannot be asked.
type logStatus struct {
	Tick     *int64     `json:"tick"`
	Timeline *int32     `json:"timeline"`
	TakenAt  *time.Time `json:"taken_at"`
	Age      float64    `json:"age_seconds"` // of the tick, by the host that was asked
	// Stale says that nobody seems to take ticks: what happens is not seen.
	Stale bool   `json:"stale"`
	Error string `json:"error,omitempty"`
	// Elsewhere says that a cursor of this site has read another log than the one that was
	// asked, which has no tick.
	Elsewhere bool `json:"elsewhere"`
}

type cursor struct {
	Name     string    `json:"name"`
	Timeline int32     `json:"timeline"`
	Tick     int64     `json:"tick"`
	Nonce    uuid.UUID `json:"-"`
	ToTick   int64     `json:"to_tick,omitempty"` // inside a step that is read in pages
	Page     int64     `json:"page,omitempty"`
	Holder   string    `json:"holder"` // the last one; empty: its session is over
	Beat     time.Time `json:"last_beat"`
	Error    string    `json:"last_error,omitempty"`
	MovedAt  time.Time `json:"moved_at"`
	// Behind is how many events lie beyond it, at most mostLag; nil: not known.
	Behind *int64 `json:"events_behind"`
	// More says that there may be more of them.
	More bool `json:"events_behind_or_more"`
}

type process struct {
	ID     uuid.UUID `json:"id"`
	Host   string    `json:"host"`
	PID    int32     `json:"pid"`
	Since  time.Time `json:"started_at"`
	BeatAt time.Time `json:"beat_at"`
	Dead   bool      `json:"dead"`
}

// errUnwell makes the program exit with 1 when it was asked to check.
var errUnwell = errors.New("this site is not well")

func statusCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the registry, the log, cursors, processes, reconciles and recounts",
		Long: `Status shows in its first line whether the site is well: ok, or what is wrong, since
when, and the command to look at it (casq.health has one row for each problem). Then
follows how many resources are in which state, how far the log is and how far its
cursors, and which processes are at work. When the log is another site's, set
SOURCE_DATABASE_URL as for the worker.

With --check it exits with 1 unless the site is well.`,
		Example: `  enqueue status
  enqueue status --check
  enqueue status --json | jq .cursors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error {
				s, err := h.status(ctx)
				if err != nil {
					return err
				}
				if err := answer(cmd, s, s.text(time.Now())); err != nil {
					return err
				}
				if check && !s.Health.OK {
					return fmt.Errorf("%w: %s", errUnwell, s.Health.Sentence)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 unless the site is well")
	addJSON(cmd)
	return cmd
}

func (h *home) status(ctx context.Context) (s status, err error) {
	if s.Health, err = h.health(ctx); err != nil {
		return s, err
	}
	reader, closeReader, err := h.reader(ctx)
	if err != nil {
		return s, err
	}
	defer closeReader()
	s.Resources, err = list[resources](ctx, reader, "SELECT kind, status, count, bytes, oldest FROM casq.registry_summary ORDER BY kind, status")
	if err != nil {
		return s, fmt.Errorf("read the registry's summary: %w", err)
	}
	s.Failed, err = list[failed](ctx, reader, statusSQL.Failed)
	if err != nil {
		return s, fmt.Errorf("read what has failed: %w", err)
	}
	if s.AtRisk, err = list[atRisk](ctx, reader, "SELECT kind, resources, bytes::float8 FROM casq.at_risk WHERE resources > 0 ORDER BY kind"); err != nil {
		return s, fmt.Errorf("read what is not in place: %w", err)
	}
	if s.Followers, err = list[follower](ctx, h.Pool, `SELECT name, reported_at, events, more, event_bytes::float8, resources, bytes::float8
		FROM casq.follower_status ORDER BY name LIMIT 100`); err != nil {
		return s, fmt.Errorf("read who follows this log: %w", err)
	}
	s.Processes, err = list[process](ctx, reader, `SELECT id, host, pid, started_at, beat_at, dead_at IS NOT NULL
		FROM casq.processes ORDER BY started_at, id`)
	if err != nil {
		return s, fmt.Errorf("read the processes: %w", err)
	}
	if s.Cursors, err = cursorsOf(ctx, reader); err != nil {
		return s, err
	}
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return s, err
	}
	if s.Queues, err = queue.Queues(ctx); err != nil {
		return s, err
	}
	if s.Failures, err = h.failures(ctx, nil, nil); err != nil {
		return s, err
	}
	if s.Runs, err = list[openRun](ctx, reader, statusSQL.OpenRuns); err != nil {
		return s, fmt.Errorf("read the reconcile runs: %w", err)
	}
	if s.Counters, err = list[counterLag](ctx, reader, statusSQL.CounterLag); err != nil {
		return s, fmt.Errorf("read how far the counters are: %w", err)
	}
	if s.Recounts, err = list[openRecount](ctx, reader, statusSQL.OpenRecounts); err != nil {
		return s, fmt.Errorf("read the recounts: %w", err)
	}
	if err := h.logStatus(ctx, &s); err != nil {
		s.Log.Error = err.Error()
	}
	return s, ctx.Err()
}

// cursorsOf are where the cursors are. How much lies beyond is asked of the log.
func cursorsOf(ctx context.Context, reader querier) ([]*cursor, error) {
	states, err := follow.States(ctx, reader)
	if err != nil {
		return nil, err
	}
	cursors := make([]*cursor, len(states))
	for i, s := range states {
		cursors[i] = &cursor{
			Name: s.Name, Timeline: s.Timeline, Tick: s.Tick, Nonce: s.Nonce, ToTick: s.ToTick, Page: s.Page,
			Holder: s.Holder, Beat: s.Beat, Error: s.Error, MovedAt: s.Moved,
		}
	}
	return cursors, nil
}

func (h *home) health(ctx context.Context) (s health, err error) {
	if err := h.QueryRow(ctx, "SELECT sentence, problems FROM casq.health_report()").Scan(&s.Sentence, &s.Problems); err != nil {
		return s, fmt.Errorf("read how this site is: %w", err)
	}
	s.OK = s.Sentence == "ok"
	return s, nil
}

func list[T any](ctx context.Context, reader querier, sql string) ([]T, error) {
	rows, err := reader.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// logStatus reads the database that the events are in.
func (h *home) logStatus(ctx context.Context, s *status) error {
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	err = source.QueryRow(ctx, `SELECT id, timeline, taken_at, greatest(0, extract(epoch FROM clock_timestamp() - taken_at))::float8
		FROM casq.ticks ORDER BY id DESC LIMIT 1`).Scan(&s.Log.Tick, &s.Log.Timeline, &s.Log.TakenAt, &s.Log.Age)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the newest tick: %w", err)
	}
	s.Log.Elsewhere = s.Log.Tick == nil && len(s.Cursors) > 0
	s.Log.Stale = s.Log.Age > eventlog.StaleAfter.Seconds()
	for _, c := range s.Cursors {
		if err := c.measure(ctx, source); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) measure(ctx context.Context, source *pgxpool.Pool) error {
	err := source.QueryRow(ctx, statusSQL.Lag, c.Tick, c.Nonce, c.Page, mostLag).Scan(&c.Behind)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("count the events beyond cursor %s: %w", c.Name, err)
	}
	c.More = c.Behind != nil && *c.Behind == mostLag
	return nil
}
