package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"casq/eventlog"
	"casq/internal/programs/bench/measure"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

const (
	benchRunners  = 50
	pickupBuilds  = 60   // in a round
	picksInAll    = 1000 // in a round
	startedWithin = 30 * time.Second
)

// buildSite is a site with a coordinator and runners.
type buildSite struct {
	*site
	server *httptest.Server
	bare   *httptest.Server
	client *http.Client
	tokens []string
	end    func()
}

// newBuildSite has a coordinator as it is where nothing is set, but for who is held how
// long.
func newBuildSite(ctx context.Context) (*buildSite, error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	return s.coordinate(ctx, runner.Options{Hold: startedWithin, SiblingHold: startedWithin})
}

// coordinate has a site hand out builds. It closes the site with an error.
func (s *site) coordinate(ctx context.Context, options runner.Options) (*buildSite, error) {
	b := &buildSite{site: s}
	options.Logger = s.log
	c := runner.New(s.DB, options)
	b.server, b.bare = httptest.NewServer(c), httptest.NewServer(http.HandlerFunc(b.takeBare))
	b.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchRunners}, Timeout: 2 * startedWithin}
	roles, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { c.Run(roles) })
	group.Go(func() { (&eventlog.Ticker{Pool: s.DB, Logger: s.log}).Run(roles) })
	b.end = func() { halt(); group.Wait() }
	for range benchRunners {
		var token string
		if err := s.DB.QueryRow(ctx, "SELECT token FROM casq.create_runner('bench', tags => '{linux}')").Scan(&token); err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.tokens = append(b.tokens, token)
	}
	return b, nil
}

func (b *buildSite) close() error {
	b.end()
	b.server.Close()
	b.bare.Close()
	b.client.CloseIdleConnections()
	return b.site.close()
}

// takeBare is the bare loop as a call like that of a runner: it answers with the row that it
// has taken, which is committed then.
func (b *buildSite) takeBare(w http.ResponseWriter, r *http.Request) {
	var said struct {
		Token string `json:"token"`
	}
	var job struct {
		ID  int64           `json:"id"`
		Job json.RawMessage `json:"job"`
	}
	err := json.NewDecoder(r.Body).Decode(&said)
	if err == nil {
		err = b.DB.QueryRow(r.Context(), takeSQL).Scan(&job.ID, &job.Job)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(job); err != nil {
		return // who does not get it fails
	}
}

// request asks a server for a build, once, and returns its id; 0 when there was none.
func (b *buildSite) request(ctx context.Context, server *httptest.Server, token string) (int64, error) {
	body := strings.NewReader(fmt.Sprintf(`{"token":%q,"system_id":%q}`, token, token[len(token)-12:]))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/v4/jobs/request", body)
	if err != nil {
		return 0, err
	}
	response, err := b.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusNoContent:
		return 0, nil
	case http.StatusCreated:
		var job struct{ ID int64 }
		return job.ID, json.NewDecoder(response.Body).Decode(&job)
	default:
		return 0, fmt.Errorf("ask for a build: %s", response.Status)
	}
}

var benchJob = json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)

// pickup: milliseconds from the commit of a build to a runner having it, while fifty wait
// and nothing else happens; against a bare listener that takes a row with SKIP LOCKED.
func pickup(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	b, err := newBuildSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		bare, err := b.listen(ctx)
		if err != nil {
			return err
		}
		ours, err := b.pickUp(ctx)
		f.Add("bare", bare...)
		f.Add("ours", ours...)
		return err
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("commit of a build to a runner having it, %d runners wait, %d builds one after the other in a round; reference: NOTIFY with the commit, and one that listens takes the row by SKIP LOCKED", benchRunners, pickupBuilds)
	return []measure.Result{
		figures.CompareAt(50, "pickup/p50", "ours", "bare", "ms", note), figures.CompareAt(99, "pickup/p99", "ours", "bare", "ms", note),
	}, nil
}

// pickUp is how long each of some builds takes from its commit until a runner has it.
func (b *buildSite) pickUp(ctx context.Context) (ours []float64, err error) {
	had := make(chan time.Time, 1)
	asking, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	for _, token := range b.tokens {
		group.Go(func() {
			for asking.Err() == nil {
				if id, err := b.request(asking, b.server, token); err == nil && id != 0 {
					had <- time.Now()
				}
			}
		})
	}
	defer group.Wait()
	defer halt()
	for range pickupBuilds {
		committed, err := b.enqueue(ctx, 1, "linux")
		if err != nil {
			return nil, err
		}
		select {
		case at := <-had:
			ours = append(ours, float64(at.Sub(committed))/float64(time.Millisecond))
		case <-time.After(startedWithin):
			return nil, errors.New("nobody picked a build up")
		}
	}
	return ours, nil
}

// enqueue commits a pipeline of n builds, and returns when that was.
func (b *buildSite) enqueue(ctx context.Context, n int, tags ...string) (committed time.Time, err error) {
	var builds []runner.Build
	for i := range n {
		builds = append(builds, runner.Build{Name: fmt.Sprint(i), Tags: tags, Job: benchJob})
	}
	err = pgx.BeginFunc(ctx, b.DB, func(tx pgx.Tx) error {
		_, _, err := runner.Enqueue(ctx, tx, runner.Pipeline{Project: 7, Builds: builds})
		return err
	})
	return time.Now(), err
}

// bareSQL is a queue without anything.
const bareSQL = `DROP TABLE IF EXISTS public.bare;
	CREATE TABLE public.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text NOT NULL DEFAULT 'pending', job jsonb NOT NULL DEFAULT '{}');
	CREATE INDEX ON public.bare (id) WHERE status = 'pending'`

const takeSQL = `UPDATE public.bare SET status = 'running' WHERE id = (
	SELECT id FROM public.bare WHERE status = 'pending' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, job`

// listen measures the reference of pickup.
func (b *buildSite) listen(ctx context.Context) ([]float64, error) {
	if _, err := b.DB.Exec(ctx, bareSQL); err != nil {
		return nil, err
	}
	conn, err := b.DB.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "LISTEN bare"); err != nil {
		return nil, err
	}
	var took []float64
	for range pickupBuilds {
		var batch pgx.Batch
		batch.Queue("INSERT INTO public.bare DEFAULT VALUES")
		batch.Queue("SELECT pg_notify('bare', '')")
		if err := b.DB.SendBatch(ctx, &batch).Close(); err != nil {
			return nil, err
		}
		committed := time.Now()
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			return nil, err
		}
		var id int64
		if err := conn.QueryRow(ctx, takeSQL).Scan(&id, nil); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(committed))/float64(time.Millisecond))
	}
	_, err = conn.Exec(ctx, "UNLISTEN bare")
	return took, err
}

// picks: builds a second handed to fifty runners while most of the queue is for others,
// at two depths; against the bare loop on a queue that is all for everybody. Both commit
// each, and answer the same client over HTTP.
func picks(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	b, err := newBuildSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var results []measure.Result
	for _, depth := range []int{10_000, 100_000} {
		m.Say("a queue of %d", depth)
		if err := b.fill(ctx, depth); err != nil {
			return nil, err
		}
		figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
			for _, side := range []struct {
				name   string
				server *httptest.Server
			}{{"bare", b.bare}, {"ours", b.server}} {
				rate, err := race(ctx, func(ctx context.Context, i int) (int64, error) { return b.request(ctx, side.server, b.tokens[i]) })
				if err != nil {
					return err
				}
				f.Add(side.name, rate)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		results = append(results, figures.Compare(fmt.Sprintf("picks/%d", depth), "ours", "bare", "builds/s",
			fmt.Sprintf("%d runners; %d queued, %d of them for these; reference: UPDATE of the first row by SKIP LOCKED, committed and over HTTP as ours; %d each", benchRunners, depth, measure.Rounds*picksInAll, picksInAll)))
	}
	return results, nil
}

// fill makes a queue, most of which no runner takes, and one for the reference.
func (b *buildSite) fill(ctx context.Context, depth int) error {
	for _, sql := range []string{
		"TRUNCATE casq.pipelines, casq.projects CASCADE", bareSQL,
		"INSERT INTO casq.projects (id, max_waiting) SELECT i, 10000000 FROM generate_series(1, 100) AS i",
		"INSERT INTO casq.pipelines (project_id) SELECT id FROM casq.projects",
		"INSERT INTO casq.tag_sets (tags) VALUES ('{linux}'), ('{nobody}'), ('{linux,nobody}') ON CONFLICT DO NOTHING",
		fmt.Sprintf(`INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
			SELECT p.id, p.project_id, 'build', 'pending', s.id, i, '%s'
			FROM generate_series(1, %d) AS i
			JOIN (SELECT id, project_id, row_number() OVER (ORDER BY id) - 1 AS n FROM casq.pipelines) AS p ON p.n = i %% 100
			JOIN casq.tag_sets AS s ON s.tags = CASE WHEN i > %d - %d THEN '{linux}' WHEN i %% 2 = 0 THEN '{nobody}' ELSE '{linux,nobody}' END::text[]
			ORDER BY i`, // as they come: else each pick is the first to write a page after the checkpoint
			benchJob, depth, depth, measure.Rounds*picksInAll),
		fmt.Sprintf("INSERT INTO public.bare (job) SELECT '%s' FROM generate_series(1, %d)", benchJob, depth),
		"VACUUM ANALYZE", "CHECKPOINT",
	} {
		if _, err := b.DB.Exec(ctx, sql); err != nil {
			return fmt.Errorf("fill the queue: %w", err)
		}
	}
	return nil
}

// race has fifty take what they can until enough were taken, and returns how many a
// second that was. Each has to be another one.
func race(ctx context.Context, take func(ctx context.Context, runner int) (int64, error)) (float64, error) {
	var left atomic.Int64
	left.Store(picksInAll)
	taken := make([][]int64, benchRunners)
	errs := make([]error, benchRunners)
	start := time.Now()
	var group sync.WaitGroup
	for i := range benchRunners {
		group.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				id, err := take(ctx, i)
				if err == nil && id == 0 {
					err = errors.New("there was none")
				}
				taken[i], errs[i] = append(taken[i], id), err
			}
		})
	}
	group.Wait()
	rate := picksInAll / time.Since(start).Seconds()
	all := slices.Sorted(slices.Values(slices.Concat(taken...)))
	if len(slices.Compact(all)) != picksInAll && errors.Join(errs...) == nil {
		return 0, errors.New("one was handed out twice")
	}
	return rate, errors.Join(errs...)
}
