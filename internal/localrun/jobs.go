package localrun

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"text/tabwriter"
	"time"

	"casq/internal/cifile"
	"casq/internal/pause"
	"casq/internal/queries"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

//go:embed run.sql
var runText string

// runSQL has the statements of run.sql.
var runSQL = queries.Parse[struct {
	Project, Runner, BeginPipeline, Add, Gets, Named, Ended, Idle, Retry, Cancel string
}]("localrun/run", runText)

const (
	project = 1
	// pollInterval is how often it is asked which builds have ended.
	pollInterval = 100 * time.Millisecond
	// idleTime is after how long it is told that the runner takes no job.
	idleTime = 20 * time.Second
	// cancelTime is how long jobs that are canceled may take for their after_script,
	// of which a job that writes nothing takes up to 30 s to hear of it.
	cancelTime = 90 * time.Second
)

// ending is how a build has ended.
type ending struct {
	ID       int64
	Status   runner.Status
	Reason   string
	ExitCode *int32
	Message  string
}

// work is the jobs of a run on their way.
type work struct {
	*run
	*schedule
	pipeline int64
	builds   []int64 // by job; 0: not queued
	tries    []int
	began    []time.Time
	took     []time.Duration
	endings  []ending
	idleAt   time.Time // when it is told that no job is taken; zero: it need not be
	logs     sync.WaitGroup
	follow   context.Context
}

// jobs runs the jobs of the plan, in their order.
func (r *run) jobs(ctx context.Context) error {
	// What was begun is ended, also when ctx is done.
	inner, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	n := len(r.plan.Jobs)
	w := &work{
		run: r, schedule: newSchedule(r.plan.Jobs), builds: make([]int64, n), tries: make([]int, n),
		began: make([]time.Time, n), took: make([]time.Duration, n), endings: make([]ending, n), follow: inner,
		idleAt: time.Now().Add(idleTime),
	}
	go func() {
		select {
		case <-r.runner.ended:
			stop(r.runner.died())
		case <-r.cfg.Abort:
			stop(ErrAborted)
		case <-inner.Done():
		}
	}()
	err := w.pipelineOf(inner)
	if err == nil {
		err = w.loop(ctx, inner)
	}
	if err == nil {
		w.logs.Wait() // to their ends
	}
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause
	}
	stop(nil)
	w.logs.Wait()
	w.summary()
	if err == nil {
		err = w.verdict()
	}
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// pipelineOf begins the pipeline.
func (w *work) pipelineOf(ctx context.Context) error {
	if err := w.pool.QueryRow(ctx, runSQL.BeginPipeline, project, w.snapshot.branch, w.snapshot.sha).Scan(&w.pipeline); err != nil {
		return fmt.Errorf("begin the pipeline: %w", err)
	}
	if _, err := w.pool.Exec(ctx, runSQL.Project, project, w.predefinedText("CI_PROJECT_NAME")); err != nil {
		return fmt.Errorf("name the project: %w", err)
	}
	return nil
}

func (r *run) predefinedText(key string) string {
	for _, v := range r.predefined {
		if v.Key == key {
			return v.Value
		}
	}
	return ""
}

// loop begins jobs and takes in how they end, until all have, or ctx is done: then they
// are canceled. inner is for all that is asked of the queue.
func (w *work) loop(ctx, inner context.Context) error {
	for !w.done() {
		if ctx.Err() != nil {
			return w.cancelAll(inner)
		}
		if err := w.step(inner, true); err != nil {
			return err
		}
	}
	return nil
}

// step takes in what has ended, and begins what can begin. With again what has failed may
// be tried again.
func (w *work) step(ctx context.Context, again bool) error {
	if err := w.takeEndings(ctx, again); err != nil {
		return err
	}
	if err := w.beginAll(ctx); err != nil || w.done() {
		return err
	}
	if err := w.tellIdle(ctx); err != nil {
		return err
	}
	return pause.For(ctx, pollInterval)
}

// tellIdle tells, once, what jobs wait for, when the runner has taken none for a while: it
// may be no runner at all.
func (w *work) tellIdle(ctx context.Context) error {
	if w.idleAt.IsZero() || time.Now().Before(w.idleAt) {
		return nil
	}
	w.idleAt = time.Time{}
	var idle bool
	var why *string
	if err := w.pool.QueryRow(ctx, runSQL.Idle).Scan(&idle, &why); err != nil {
		return fmt.Errorf("ask what the jobs wait for: %w", err)
	}
	if idle && why != nil {
		w.terminal.say("no job has begun within %s. %s The last that the runner said: %s", idleTime, *why, w.runner.said())
	}
	return nil
}

var errCancel = errors.New("jobs that were canceled have not ended")

// cancelAll has the jobs that run end, and begins no others.
func (w *work) cancelAll(ctx context.Context) error {
	w.terminal.say("canceling: jobs hear of it with what they write next, or within 30 s; once more ends all at once")
	ctx, stop := context.WithTimeoutCause(ctx, cancelTime, errCancel)
	defer stop()
	w.cancel()
	var running []int64
	for i, now := range w.now {
		if now == begun {
			running = append(running, w.builds[i])
		}
	}
	if _, err := w.pool.Exec(ctx, runSQL.Cancel, running); err != nil {
		return fmt.Errorf("cancel the jobs: %w", err)
	}
	for !w.done() {
		if err := w.step(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) beginAll(ctx context.Context) error {
	for begun := w.next(); len(begun) > 0; begun = w.next() {
		for _, i := range begun {
			if err := w.begin(ctx, i); err != nil {
				return fmt.Errorf("queue %s: %w", w.plan.Jobs[i].Name, err)
			}
		}
	}
	return nil
}

// begin queues a job, and shows its log.
func (w *work) begin(ctx context.Context, i int) error {
	job := w.plan.Jobs[i]
	text, err := w.rendered(job)
	if err != nil {
		return err
	}
	var gets []int64
	for _, other := range job.Gets {
		if w.builds[other] != 0 {
			gets = append(gets, w.builds[other])
		}
	}
	tags := job.Tags
	if tags == nil {
		tags = []string{}
	}
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, runSQL.Add, w.pipeline, job.Name, text, tags, job.Stage, int(timeout(job)/time.Second)).Scan(&w.builds[i])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, runSQL.Gets, w.builds[i], gets); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, runSQL.Named, w.builds[i])
		return err
	})
	if err != nil {
		return err
	}
	w.began[i] = time.Now()
	w.show(i)
	return nil
}

// show shows the log of a job's next attempt, to its end.
func (w *work) show(i int) {
	log := &jobLog{terminal: w.terminal}
	if len(w.plan.Jobs) > 1 {
		log.prefix = string(clean([]byte(w.plan.Jobs[i].Name), false)) + " | "
	}
	w.logs.Go(func() {
		err := runner.Trace(w.follow, w.pool, w.builds[i], 0, 0, true, log)
		if err = errors.Join(err, log.flush()); err != nil && w.follow.Err() == nil {
			w.terminal.say("the log of %s cannot be shown: %v", w.plan.Jobs[i].Name, err)
		}
	})
}

// takeEndings takes in what has ended. What may be is tried again.
func (w *work) takeEndings(ctx context.Context, again bool) error {
	var running []int64
	place := make(map[int64]int)
	for i, now := range w.now {
		if now == begun {
			running = append(running, w.builds[i])
			place[w.builds[i]] = i
		}
	}
	if len(running) == 0 {
		return nil
	}
	rows, err := w.pool.Query(ctx, runSQL.Ended, running)
	if err != nil {
		return fmt.Errorf("ask which jobs have ended: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ending])
	if err != nil {
		return fmt.Errorf("ask which jobs have ended: %w", err)
	}
	for _, e := range ended {
		i := place[e.ID]
		job := w.plan.Jobs[i]
		if again && e.Status == runner.Failed && w.tries[i] < job.Retry.Most && job.Retry.Covers(e.Reason, e.ExitCode) {
			w.tries[i]++
			w.terminal.say("%s has failed, and is tried again", job.Name)
			if _, err := w.pool.Exec(ctx, runSQL.Retry, e.ID); err != nil {
				return fmt.Errorf("try %s again: %w", job.Name, err)
			}
			w.show(i)
			continue
		}
		w.endings[i], w.took[i] = e, time.Since(w.began[i])
		w.end(i, outcomeOf(job, e))
	}
	return nil
}

func outcomeOf(job *cifile.Planned, e ending) outcome {
	switch {
	case e.Status == runner.Success:
		return succeeded
	case e.Status == runner.Failed && job.AllowFailure.Covers(e.ExitCode):
		return allowed
	case e.Status == runner.Failed:
		return failed
	default:
		return canceled
	}
}

// summary tells what became of each job.
func (w *work) summary() {
	w.terminal.mu.Lock()
	defer w.terminal.mu.Unlock()
	fmt.Fprintln(w.terminal.out)
	table := tabwriter.NewWriter(w.terminal.out, 0, 8, 2, ' ', 0)
	for i, job := range w.plan.Jobs {
		text := w.told(i)
		took := ""
		if w.took[i] > 0 {
			took = w.took[i].Round(100 * time.Millisecond).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", clean([]byte(job.Name), false), took, text)
	}
	_ = table.Flush() // whoever went away does not read it
}

// told is what became of a job, in words.
func (w *work) told(i int) string {
	switch now := w.now[i]; now {
	case failed, allowed:
		return fmt.Sprintf("%s (%s)", now, w.endings[i].why())
	case manual:
		return "manual, not started: name it to run it"
	case held:
		return "held back: it waits for a manual job"
	default:
		return string(now)
	}
}

func (e ending) why() string {
	text := e.Reason
	if e.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *e.ExitCode)
	}
	if e.Message != "" {
		text += ", " + e.Message
	}
	return text
}

// verdict is the error of jobs that have failed, and of those that were asked for and did
// not begin.
func (w *work) verdict() error {
	var errs []error
	for i, job := range w.plan.Jobs {
		switch {
		case w.now[i] == failed:
			errs = append(errs, fmt.Errorf("%w: job %q: %s", ErrFailed, job.Name, w.endings[i].why()))
		case w.now[i] == canceled && w.builds[i] != 0:
			errs = append(errs, fmt.Errorf("%w: job %q was canceled", ErrFailed, job.Name))
		case job.Chosen && w.builds[i] == 0 && job.When != cifile.OnFailure:
			errs = append(errs, fmt.Errorf("%w: job %q did not begin: %s", ErrFailed, job.Name, w.now[i]))
		}
	}
	return errors.Join(errs...)
}
