package races

import (
	"context"
	"errors"
	"testing"

	"casq/counter/recount"
)

// TestR36GivenUp: a recount is cancelled, or fails for good, in each of its
// states; whoever was at it goes on afterwards. The old value stays, and stays
// right; the reason is kept; the next recount is not in its way.
func TestR36GivenUp(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"created", "running", "finalizing"} {
		for name, giveUp := range map[string]func(*r36, *testing.T){"cancelled": (*r36).cancel, "failed": (*r36).fail} {
			t.Run("ours/"+state+", "+name, func(t *testing.T) {
				t.Parallel()
				r := newR36(t, state)
				giveUp(r, t)
				r.put(t, 2, 1, 50)
				r.quiesceValues(t, 1)
				if is, reason := r.state(t, r.refresh); is != name || reason == "" {
					t.Errorf("recount is %s because of %q, want %s", is, reason, name)
				}
				r.exec(t, "UPDATE casq.counters SET size = 5")
				r.recount(t, 1)
				r.quiesceValues(t, 1)
			})
		}
	}
}

// r36 is a recount whose job has stopped in a state.
type r36 struct {
	*ours
	scanID, refresh int64
	held            *stop      // where the job is
	ended           chan error // how it ends
}

func newR36(t *testing.T, state string) *r36 {
	t.Helper()
	s := newCounterSite(t)
	r := &r36{ours: s.ours(t), ended: make(chan error, 1)}
	s.put(t, 1, 1, 300)
	r.arrive(t)
	r.flush(t)
	r.refresh = r.ask(t, 1)[0]
	r.scanID = r.queue.scan(t)
	ctx := t.Context()
	switch state {
	case "running":
		r.hold(t, "scan:snapshot", func() error { return r.worker.Scan(ctx, r.scanID, 1, r.process) })
	case "finalizing":
		must(t, r.worker.Scan(ctx, r.scanID, 1, r.process))
		f := r.queue.finalize(t)
		r.hold(t, "finalize:summed", func() error { return r.worker.Finalize(ctx, f, 2) })
	}
	if is, _ := r.state(t, r.refresh); is != state {
		t.Fatalf("recount is %s, want %s", is, state)
	}
	return r
}

func (r *r36) hold(t *testing.T, at string, job func() error) {
	t.Helper()
	r.held = r.points.stopAt(at)
	go func() { r.ended <- job() }()
	r.held.wait(t)
}

// cancel is an operator's. The job goes on, and finds that it is too late.
func (r *r36) cancel(t *testing.T) {
	t.Helper()
	must(t, r.worker.Cancel(t.Context(), r.refresh))
	if err := r.worker.Cancel(t.Context(), r.refresh); !errors.Is(err, recount.ErrOver) {
		t.Errorf("cancelled twice: %v", err)
	}
	job := func() error { return r.worker.Scan(t.Context(), r.scanID, 1, r.process) }
	if r.held != nil {
		r.held.release()
		job = func() error { return <-r.ended }
	}
	if err := job(); !errors.Is(err, recount.ErrSuperseded) {
		t.Errorf("the job ended with %v", err)
	}
}

// errR36 is why a job was not even begun.
var errR36 = errors.New("no luck")

// fail cuts the job's sessions, and then does what the queue does after the last
// attempt.
func (r *r36) fail(t *testing.T) {
	t.Helper()
	cause := errR36
	if r.held != nil {
		block, err := r.pool.Begin(t.Context())
		must(t, err)
		defer block.Rollback(context.Background())
		_, err = block.Exec(t.Context(), "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE; SELECT FROM casq.counter_shards FOR UPDATE; SELECT FROM casq.scans FOR UPDATE")
		must(t, err)
		r.held.release()
		r.blocked(t, 1)
		r.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`)
		var ended error
		awaits(t, "the job has failed", func() bool {
			select {
			case ended = <-r.ended:
				return true
			default:
				// It tries other hosts, and tells that it has given up.
				_, err := r.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock'`)
				return err != nil
			}
		})
		if cause = ended; ended == nil {
			t.Fatal("the job has not failed")
		}
		must(t, block.Rollback(t.Context()))
	}
	must(t, r.worker.Fail(t.Context(), r.scanID, cause))
}
