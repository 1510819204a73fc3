package runnerclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/buildhistory"
	"casq/internal/testing/expect"
	"casq/internal/testing/long"
	"casq/internal/testing/runnerclient"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"
	"casq/runner/filestore"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const (
	pipelines  = 100
	processes  = 10
	inPipeline = 10
	startBy    = 2 * time.Second
	silentBy   = 2 * time.Second
)

// farm is a coordinator of two processes, and the runners that ask it.
type farm struct {
	t       *testing.T
	pool    *pgxpool.Pool
	rough   *runnerclient.Rough
	history *buildhistory.History
	urls    []string

	mu   sync.Mutex
	logs map[int64][]byte // of builds that have succeeded
	dead []*runnerclient.Job
	once map[int64]bool // those that have failed
}

// A thousand builds, some of which need others, fail and are tried again, are run by ten
// processes of runners on a rough network: answers are lost, so that runners say things
// twice, proxies are busy and spoil logs, runners die and come back. Each build is run, and
// never by two at a time; its log and its file are the ones that were sent.
func TestAThousandBuildsAreRun(t *testing.T) {
	long.Test(t)
	t.Parallel()
	builds := pipelines
	if testing.Short() {
		builds /= 5
	}
	f := newFarm(t)
	group, halt := f.work()
	for n := range builds {
		f.enqueue(n)
	}
	await.True(t, 2*time.Minute, "all builds have succeeded", func() bool { return f.retryFailed() == builds*inPipeline })
	f.comeBack()
	halt()
	group.Wait()
	f.compare(builds * inPipeline)
}

func newFarm(t *testing.T) *farm {
	pool := testdb.New(t).Pool(t)
	runnertest.Ticks(t, pool)
	store, err := filestore.OpenFolder(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	f := &farm{t: t, pool: pool, history: buildhistory.New(), logs: make(map[int64][]byte), once: make(map[int64]bool)}
	for range 2 {
		c := runnertest.New(t, pool, runner.Options{
			Artifacts: store, StartWithin: startBy, SilentAfter: silentBy, TraceInterval: time.Millisecond,
			SweepEvery: 100 * time.Millisecond, ContactsEvery: 100 * time.Millisecond, Hold: time.Second,
		})
		f.urls = append(f.urls, c.URL)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	f.rough = &runnerclient.Rough{Base: transport, Lost: 20, Busy: 50, Spoilt: 100}
	return f
}

// work has all runners ask, until halt.
func (f *farm) work() (group *sync.WaitGroup, halt func()) {
	ctx, halt := context.WithCancel(f.t.Context())
	f.t.Cleanup(halt)
	group = &sync.WaitGroup{}
	for i := range processes {
		p := &runnerclient.Process{
			Token: runnertest.Runner(f.t, f.pool), System: fmt.Sprintf("s_%d", i), Coordinators: f.urls, HTTP: &http.Client{Transport: f.rough},
			Requests: 3, Tries: 20, Pause: time.Millisecond, MostPause: 5 * time.Millisecond, Piece: 300,
		}
		for range p.Requests {
			group.Go(func() { f.ask(ctx, p) })
		}
	}
	return group, halt
}

func (f *farm) ask(ctx context.Context, p *runnerclient.Process) {
	for ctx.Err() == nil {
		asked := time.Now()
		j, err := p.Request(ctx)
		if err != nil && ctx.Err() == nil {
			f.t.Error(err)
			return
		}
		if j == nil {
			continue
		}
		f.history.Picked(asked, j.ID, j.Token)
		if err := f.run(context.WithoutCancel(ctx), j); err != nil && !errors.Is(err, runnerclient.ErrRefused) {
			f.t.Errorf("build %d: %v", j.ID, err)
		}
	}
}

// run is what becomes of a build: most succeed. Of a hundred the first attempts of some
// fail, and the runners of some die, and come back at the end.
func (f *farm) run(ctx context.Context, j *runnerclient.Job) error {
	if err := f.say(j, func() error { return j.Begin(ctx) }); err != nil {
		return err
	}
	fmt.Fprintf(j, "build %d, attempt %s\n%s", j.ID, j.Token, bytes.Repeat([]byte("and so on\n"), int(j.ID%100)))
	if err := f.say(j, func() error { return j.Send(ctx) }); err != nil {
		return err
	}
	f.mu.Lock()
	first := !f.once[j.ID]
	f.once[j.ID] = true
	f.mu.Unlock()
	switch {
	case first && j.ID%50 == 7:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dead = append(f.dead, j)
		return nil
	case first && j.ID%20 == 3:
		return f.end(j, func() error { return j.Finish(ctx, "failed", "script_failure") })
	}
	if j.ID%inPipeline == 0 {
		upload := func() error {
			return j.Upload(ctx, "art.zip", "never", func() io.Reader { return bytes.NewReader(fileOf(j.ID)) })
		}
		if err := f.say(j, upload); err != nil {
			return err
		}
	}
	err := f.end(j, func() error { return j.Finish(ctx, "success", "") })
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.logs[j.ID] = j.Log()
	}
	return err
}

// fileOf is what a build leaves.
func fileOf(build int64) []byte { return fmt.Appendf(nil, "what build %d has left", build) }

func (f *farm) say(j *runnerclient.Job, call func() error) error { return f.tell(j, false, call) }
func (f *farm) end(j *runnerclient.Job, call func() error) error { return f.tell(j, true, call) }

func (f *farm) tell(j *runnerclient.Job, end bool, call func() error) error {
	asked, outcome := time.Now(), buildhistory.Accepted
	j.Again = false
	err := call()
	if errors.Is(err, runnerclient.ErrRefused) {
		if j.Again { // the first time is another call, which may have been taken in
			f.history.Said(asked, j.ID, j.Token, end, buildhistory.Unknown)
		}
		outcome = buildhistory.Refused
	} else if err != nil {
		outcome = buildhistory.Unknown
	}
	f.history.Said(asked, j.ID, j.Token, end, outcome)
	return err
}

// enqueue adds a pipeline: one build first, eight that need it, and one that needs these.
func (f *farm) enqueue(n int) {
	builds := []runner.Build{{Name: "first"}}
	last := runner.Build{Name: "last"}
	for i := range inPipeline - 2 {
		builds = append(builds, runner.Build{Name: fmt.Sprint("middle ", i), Needs: []string{"first"}})
		last.Needs = append(last.Needs, builds[i+1].Name)
	}
	f.t.Logf("pipeline %d: builds %v", n, runnertest.Pipeline(f.t, f.pool, append(builds, last)...))
}

// retryFailed is what somebody does who wants all to succeed. It returns how many have.
func (f *farm) retryFailed() (succeeded int) {
	must(f.t, f.pool.QueryRow(f.t.Context(), "SELECT count(*) FROM casq.builds WHERE status = 'success'").Scan(&succeeded))
	asked := time.Now()
	rows, err := f.pool.Query(f.t.Context(), "SELECT id, casq.retry_build(id) FROM casq.builds WHERE status = 'failed'")
	must(f.t, err)
	defer rows.Close()
	for rows.Next() {
		var id int64
		var status string
		must(f.t, rows.Scan(&id, &status))
		f.history.Retried(asked, id, buildhistory.Accepted)
	}
	must(f.t, rows.Err())
	return succeeded
}

// comeBack has runners that had died send again: they were given up.
func (f *farm) comeBack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range f.dead {
		err := f.say(j, func() error { return j.Begin(f.t.Context()) })
		if !errors.Is(err, runnerclient.ErrRefused) {
			f.t.Errorf("build %d was tried again, and its first attempt is answered: %v", j.ID, err)
		}
	}
	if len(f.dead) == 0 {
		f.t.Error("no runner has died")
	}
}

// compare compares what is there with what was sent.
func (f *farm) compare(want int) {
	t := f.t
	for _, wrong := range f.history.Check(buildhistory.Limits{StartWithin: startBy, SilentAfter: silentBy}) {
		t.Error(wrong)
	}
	builds, picks := f.history.Len()
	if builds != want || picks <= want {
		t.Errorf("%d builds were picked %d times, there are %d", builds, picks, want)
	}
	for build, sent := range f.logs {
		var kept bytes.Buffer
		must(t, runner.Trace(t.Context(), f.pool, build, 0, 0, false, &kept))
		if !bytes.Equal(kept.Bytes(), sent) {
			t.Errorf("the log of build %d is %q, want %q", build, kept.Bytes(), sent)
		}
	}
	var stuck, files int
	must(t, f.pool.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM casq.stuck_pipelines), (SELECT count(*) FROM casq.artifacts)").Scan(&stuck, &files))
	if stuck != 0 || files != want/inPipeline {
		t.Errorf("%d pipelines are stuck; %d files, want %d", stuck, files, want/inPipeline)
	}
	for _, status := range []int{200, 201, 202, 204, 403, 412, 416, 503} {
		if f.rough.Statuses[status].Load() == 0 {
			t.Errorf("no call was answered with %d", status)
		}
	}
	t.Logf("%d builds, %d picks; answers by status: %v", builds, picks, counted(f.rough))
}

func counted(r *runnerclient.Rough) (all []string) {
	for status := range r.Statuses {
		if n := r.Statuses[status].Load(); n > 0 {
			all = append(all, fmt.Sprintf("%d: %d", status, n))
		}
	}
	return slices.Clip(all)
}

var must = expect.NoError
