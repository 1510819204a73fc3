package races

import (
	"errors"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/jobs"

	"github.com/google/uuid"
)

// TestR140LostPart: a recount in parts is under way, and the part that it is at is
// lost: its job, its row, or the process that has it, which is killed or frozen.
// The next part comes out of the end of this one, so that nothing would ever go on,
// and later recounts would wait for it for ever.
func TestR140LostPart(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*r140, *testing.T){
		"job": (*r140).loseJob, "row": (*r140).loseRow, "killed": (*r140).kill, "frozen": (*r140).freeze,
	} {
		t.Run("twin/nobody looks for it/"+name, func(t *testing.T) {
			t.Parallel()
			r := newR140(t)
			lose(r, t)
			later := r.ask(t, 1)[0]
			r.work(t)
			if state, _ := r.state(t, later); state != "created" {
				t.Errorf("the later recount is %s, want it to wait", state)
			}
		})
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			r := newR140(t)
			lose(r, t)
			later := r.ask(t, 1)[0]
			r.put(t, 100, 3, 7)
			// As often as a worker does within a minute.
			for range 12 {
				must(t, r.adopter.Adopt(t.Context()))
				r.work(t)
			}
			if state, reason := r.state(t, later); state != "done" {
				t.Errorf("the later recount is %s, %s", state, reason)
			}
			r.quiesceReal(t, 1, 2, 3, 4)
			if n := r.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
				t.Errorf("%d scans are not over", n)
			}
			if r.thaw != nil {
				r.thaw()
				r.quiesceReal(t, 1, 2, 3, 4)
			}
		})
	}
}

// r140 is a recount of four projects whose first part is over.
type r140 struct {
	*ours
	adopter *jobs.CounterWorker
	thaw    func() // the process that was frozen
}

func newR140(t *testing.T) *r140 {
	t.Helper()
	s := newCounterSite(t)
	queue, err := jobs.NewQueue(s.pool, raceLog(t))
	must(t, err)
	// As soon as a snapshot is open for half of that, a part ends.
	o := s.ours(t, func(_ *counter.Config, cfg *recount.Config) {
		cfg.Jobs, cfg.SnapshotLimit, cfg.Concurrency = jobs.NewCounting(queue), time.Nanosecond, 10
	})
	r := &r140{ours: o, adopter: &jobs.CounterWorker{Counters: o.counters, Recounts: o.worker, Queue: queue, Process: o.process, Logger: raceLog(t)}}
	s.exec(t, "CREATE INDEX ON artifacts (project)")
	for n := range int64(8) {
		s.put(t, n, 1+n%4, 10*n)
	}
	o.arrive(t)
	o.flush(t)
	s.exec(t, "UPDATE casq.counters SET size = size + 1000")
	o.ask(t)
	held := o.points.stopAt("scan:snapshot")
	ended := make(chan struct{})
	go func() { defer close(ended); r.step(t) }()
	held.wait(t)
	slow := o.points.stopAt("scan:slow")
	locked, err := s.pool.Begin(t.Context())
	must(t, err)
	_, err = locked.Exec(t.Context(), "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	held.release()
	slow.wait(t)
	must(t, locked.Rollback(t.Context()))
	slow.release()
	<-ended
	for s.count(t, "SELECT count(*) FROM casq.scans WHERE part = 'table'") < 2 {
		r.step(t)
	}
	return r
}

// job is one of River's.
type job struct {
	id    int64
	swap  bool
	scan  int64
	token uuid.UUID
}

// next takes the oldest job, as a worker would.
func (r *r140) next(t *testing.T) (j job, found bool) {
	t.Helper()
	err := r.pool.QueryRow(t.Context(), `UPDATE river.river_job SET state = 'running', attempted_by = ARRAY[$1::text]
		WHERE id = (SELECT min(id) FROM river.river_job WHERE state = 'available' AND kind <> 'casq_flush')
		RETURNING id, kind = 'casq_finalize', (args ->> 'scan')::bigint, coalesce(args ->> 'token', $2)::uuid`,
		r.process.String(), uuid.Nil.String()).Scan(&j.id, &j.swap, &j.scan, &j.token)
	return j, err == nil
}

// step carries out a job. One that has to wait is available again.
func (r *r140) step(t *testing.T) (found bool) {
	t.Helper()
	j, found := r.next(t)
	if !found {
		return false
	}
	var err error
	if j.swap {
		r.swapOrNot(t, recount.Finalize{Scan: j.scan, Token: j.token})
	} else {
		err = r.worker.Scan(t.Context(), j.scan, j.id, r.process)
	}
	if errors.Is(err, recount.ErrBusy) {
		r.exec(t, "UPDATE river.river_job SET state = 'scheduled' WHERE id = $1", j.id)
		return true
	}
	if err != nil && !errors.Is(err, recount.ErrSuperseded) {
		t.Errorf("job %d: %v", j.id, err)
	}
	r.exec(t, "UPDATE river.river_job SET state = 'completed', finalized_at = now() WHERE id = $1", j.id)
	return true
}

func (r *r140) swapOrNot(t *testing.T, f recount.Finalize) {
	t.Helper()
	awaits(t, "the swap", func() bool {
		r.tick(t)
		err := r.worker.Finalize(t.Context(), f, 2)
		if err != nil && !errors.Is(err, recount.ErrNotReady) && !errors.Is(err, recount.ErrSuperseded) {
			t.Fatal(err)
		}
		return !errors.Is(err, recount.ErrNotReady)
	})
}

// work carries out all jobs, each of those that have to wait once.
func (r *r140) work(t *testing.T) {
	t.Helper()
	r.exec(t, "UPDATE river.river_job SET state = 'available' WHERE state = 'scheduled'")
	for r.step(t) {
		continue
	}
}

func (r *r140) part(t *testing.T) int64 {
	t.Helper()
	return r.count(t, "SELECT id FROM casq.scans WHERE part = 'table' AND finished_at IS NULL")
}

func (r *r140) loseJob(t *testing.T) {
	t.Helper()
	r.exec(t, "DELETE FROM river.river_job WHERE (args ->> 'scan')::bigint = $1", r.part(t))
}

func (r *r140) loseRow(t *testing.T) {
	t.Helper()
	r.exec(t, "DELETE FROM casq.scans WHERE id = $1", r.part(t))
}

// freeze has another process carry out the part, which freezes and is taken for
// dead.
func (r *r140) freeze(t *testing.T) {
	t.Helper()
	process := uuid.New()
	r.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'race', 2)", process)
	j, found := r.next(t)
	if !found {
		t.Fatal("the part has no job")
	}
	r.exec(t, "UPDATE river.river_job SET attempted_by = ARRAY[$2::text] WHERE id = $1", j.id, process.String())
	child := r.child(t, countingSpec{Job: "scan", At: "scan:summed", Scan: j.scan, Process: process})
	r.exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", process)
	r.thaw = func() { goOn(child) }
}

func (r *r140) kill(t *testing.T) {
	t.Helper()
	process := uuid.New()
	r.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'race', 2)", process)
	j, found := r.next(t)
	if !found {
		t.Fatal("the part has no job")
	}
	r.exec(t, "UPDATE river.river_job SET attempted_by = ARRAY[$2::text] WHERE id = $1", j.id, process.String())
	r.child(t, countingSpec{Job: "scan", At: "scan:snapshot", Scan: j.scan, Process: process}).Kill()
	r.exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", process)
}
