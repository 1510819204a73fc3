package reads

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// visit is one write or read of a document, as its client has seen it. A document's
// body is its version, which the database counts: versions grow in the order of the
// commits.
type visit struct {
	session    int64
	monotonic  bool // versions never go back in this session
	begin, end time.Duration
	// asked is when the first read of the session began: the store is asked then, once.
	asked    time.Duration
	document string
	watched  bool // by whoever writes or reads it
	wrote    bool
	version  int
	// told is the newest version that the session's token stands for.
	told int
}

// staleVisits returns the reads that show less than they must: what the session
// itself wrote before, what anybody wrote before the session's first read if the document
// is watched, and what its token stands for.
func staleVisits(history []visit) (stale []string) {
	for _, read := range history {
		if read.wrote {
			continue
		}
		want, why := read.told, "its token"
		for _, write := range history {
			if !write.wrote || write.document != read.document || write.version <= want {
				continue
			}
			if read.watched && write.end < read.asked || write.session == read.session && write.end < read.begin {
				want, why = write.version, fmt.Sprintf("%+v", write)
			}
		}
		if read.version < want {
			stale = append(stale, fmt.Sprintf("%+v: want %d of %s", read, want, why))
		}
	}
	return stale
}

// backwardVisits returns the reads of monotonic sessions that show less than a read
// before.
func backwardVisits(history []visit) (backward []string) {
	type place struct {
		session  int64
		document string
	}
	newest := make(map[place]visit)
	slices.SortFunc(history, func(a, b visit) int { return cmp.Compare(a.begin, b.begin) })
	for _, v := range history {
		at := place{v.session, v.document}
		if before := newest[at]; v.monotonic && !v.wrote && v.version < before.version {
			backward = append(backward, fmt.Sprintf("%+v came after %+v", v, before))
		}
		if v.version >= newest[at].version {
			newest[at] = v
		}
	}
	return backward
}

func TestHistoryIsJudged(t *testing.T) {
	t.Parallel()
	write := visit{session: 1, begin: 1, end: 2, document: "a", wrote: true, version: 5}
	for name, c := range map[string]struct {
		visit           visit
		stale, backward int
	}{
		"own":                    {visit{session: 1, begin: 3, document: "a", version: 4}, 1, 0},
		"own, and monotonic":     {visit{session: 1, begin: 3, document: "a", version: 4, monotonic: true}, 1, 1},
		"own and fresh":          {visit{session: 1, begin: 3, document: "a", version: 5}, 0, 0},
		"another document":       {visit{session: 1, begin: 3, document: "b", version: 4, watched: true}, 0, 0},
		"another's":              {visit{session: 2, begin: 3, document: "a", version: 4}, 0, 0},
		"another's, and watched": {visit{session: 2, asked: 3, begin: 3, document: "a", version: 4, watched: true}, 1, 0},
		"watched, a later read":  {visit{session: 2, asked: 3, begin: 4, document: "a", version: 4, watched: true}, 1, 0},
		"watched, asked before":  {visit{session: 2, asked: 1, begin: 3, document: "a", version: 4, watched: true}, 0, 0},
		"watched, but at once":   {visit{session: 2, asked: 2, begin: 2, document: "a", version: 4, watched: true}, 0, 0},
		"by a token":             {visit{session: 2, begin: 3, document: "a", version: 4, told: 5}, 1, 0},
		"by a token and newer":   {visit{session: 2, begin: 3, document: "a", version: 6, told: 5}, 0, 0},
	} {
		history := []visit{write, c.visit}
		if stale, backward := staleVisits(history), backwardVisits(history); len(stale) != c.stale || len(backward) != c.backward {
			t.Errorf("%s: stale %v, backward %v", name, stale, backward)
		}
	}
}

const (
	countUp = `INSERT INTO documents VALUES ($1, '1')
		ON CONFLICT (id) DO UPDATE SET body = (documents.body::bigint + 1)::text RETURNING body::bigint`
	counted = "SELECT coalesce((SELECT d.body::bigint FROM documents AS d WHERE d.id = $1), 0)"
)

// queryer is a door: a session's, or a pool.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// request is how a client reaches the database for a few statements.
type request struct {
	read, write queryer
	token       func(ctx context.Context) string // for the next one; nil: there is none
}

// visitor is a client. open begins a request with a token, which may be "".
type visitor struct {
	documents          []string
	watches, monotonic bool
	open               func(token string) request
}

// baton is a token that goes from client to client, with what it stands for.
type baton struct {
	token string
	told  map[string]int
}

// story plays clients against each other, and records what they see.
type story struct {
	visits   int // of all clients
	plan     *standbyPlan
	sessions atomic.Int64
	done     atomic.Int64
	batons   chan baton

	mu      sync.Mutex
	history []visit
}

// play has each client make requests until there were enough visits.
func (s *story) play(ctx context.Context, seed uint64, clients []visitor) ([]visit, error) {
	s.batons = make(chan baton, len(clients))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range clients {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		group.Go(func() error {
			for s.done.Load() < int64(s.visits) {
				if err := s.request(ctx, r, c); err != nil {
					return fmt.Errorf("client %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return s.history, group.Wait()
}

// request is one session of a client: some visits, with the token of somebody else,
// and its own left for the next.
func (s *story) request(ctx context.Context, r *rand.Rand, c visitor) error {
	var carried baton
	if !c.watches {
		select {
		case carried = <-s.batons:
		default:
		}
	}
	session, door := s.sessions.Add(1), c.open(carried.token)
	next := maps.Clone(carried.told)
	if next == nil {
		next = make(map[string]int)
	}
	var asked time.Duration
	for range 1 + r.IntN(5) {
		v := visit{asked: asked, session: session, monotonic: c.monotonic, watched: c.watches, document: c.documents[r.IntN(len(c.documents))], wrote: r.IntN(3) == 0}
		v.told = carried.told[v.document]
		if err := s.visit(ctx, door, &v); err != nil {
			return err
		}
		asked = v.asked
		if v.wrote || v.monotonic {
			next[v.document] = max(next[v.document], v.version)
		}
		if n := s.done.Add(1); n%visitsPerStep == 0 {
			if err := s.plan.step(ctx); err != nil {
				return err
			}
		}
	}
	if c.watches {
		return nil
	}
	select {
	case s.batons <- baton{door.token(ctx), next}:
	default:
	}
	return nil
}

func (s *story) visit(ctx context.Context, door request, v *visit) error {
	v.begin = time.Since(storyEpoch)
	row := door.read.QueryRow
	text := counted
	if v.wrote {
		row, text = door.write.QueryRow, countUp
	} else if v.asked == 0 {
		v.asked = v.begin
	}
	if err := row(ctx, text, v.document).Scan(&v.version); err != nil {
		return err
	}
	v.end = time.Since(storyEpoch)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, *v)
	return nil
}

var storyEpoch = time.Now()

const visitsPerStep = 25

// standbyPlan does something to a standby, or to the store, at each step. What comes
// follows from the seed; when, from how many visits there were.
type standbyPlan struct {
	site  *replicaSite
	flush func(ctx context.Context) error

	mu   sync.Mutex // of the steps: one after the other
	rand *rand.Rand
}

func (p *standbyPlan) step(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	standby := p.site.Cluster.Standbys[p.rand.IntN(2)]
	switch p.rand.IntN(8) {
	case 0, 1:
		return standby.PauseReplay(ctx)
	case 2, 3, 4:
		return standby.ResumeReplay(ctx)
	case 5:
		return standby.SetApplyDelay(ctx, time.Duration(1+p.rand.IntN(40))*time.Millisecond)
	case 6:
		return standby.SetApplyDelay(ctx, 0)
	default:
		return p.flush(ctx)
	}
}

// TestReplicaHistory: sessions of four processes write and read documents, with a
// store or with tokens handed on, while standbys are paused, resumed and delayed, and
// the store is wiped. No read shows less than its session must see, and no monotonic
// session goes back. It is a property, not a race: nobody is stopped at a point.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestReplicaHistory(t *testing.T) {
	t.Parallel()
	const seed, visits = 7, 4000
	r := newReplicaSite(t)
	client, open := newPositions(t)
	play := func(t *testing.T, clients []visitor) (stale, backward []string) {
		t.Helper()
		plan := &standbyPlan{
			site: r, rand: rand.New(rand.NewPCG(seed, 0)),
			flush: func(ctx context.Context) error { return client.FlushAll(ctx).Err() },
		}
		s := &story{visits: visits, plan: plan}
		history, err := s.play(t.Context(), seed, clients)
		must(t, err)
		return staleVisits(history), backwardVisits(history)
	}
	documents := func(prefix string) []string { return []string{prefix + "1", prefix + "2", prefix + "3"} }

	t.Run("twin/round robin", func(t *testing.T) {
		pools := []*pgxpool.Pool{r.Primary, r.standby[0], r.standby[1]}
		var turn atomic.Int64
		robin := roundRobin(func() *pgxpool.Pool { return pools[turn.Add(1)%3] })
		open := func(string) request { return request{robin, r.Primary, func(context.Context) string { return "" }} }
		var clients []visitor
		for i := range 8 {
			clients = append(clients, visitor{documents("twin"), i < 4, true, open})
		}
		stale, backward := play(t, clients)
		if len(stale) == 0 || len(backward) == 0 {
			t.Errorf("%d reads were stale, %d went back", len(stale), len(backward))
		}
	})
	t.Run("ours", func(t *testing.T) {
		r.Resume(t)
		var dbs []*replica.DB
		var clients []visitor
		for i := range 4 {
			watches, monotonic := i < 2, i%2 == 0
			options, ours := replica.Options{Monotonic: monotonic}, documents("told")
			if watches {
				options.Store, ours = open(), documents("watched")
			}
			db := r.open(t, options)
			c := visitor{ours, watches, monotonic, func(token string) request {
				s := db.Session()
				if watches {
					s.Watch(watchable(ours)...)
				}
				s.Carry(token)
				return request{s.Read(), s.Write(), s.Token}
			}}
			dbs, clients = append(dbs, db), append(clients, c, c)
		}
		stale, backward := play(t, clients)
		for _, text := range stale {
			t.Error("stale:", text)
		}
		for _, text := range backward {
			t.Error("back:", text)
		}
		for i, db := range dbs {
			if counts := db.Counts().Choices; counts[replica.CaughtUp]+counts[replica.Waited] == 0 {
				t.Errorf("process %d: no standby served: %v", i, counts)
			}
		}
	})
}

// roundRobin reads from one pool after the other.
type roundRobin func() *pgxpool.Pool

func (next roundRobin) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return next().QueryRow(ctx, sql, args...)
}

func watchable(documents []string) (objects []replica.Object) {
	for _, id := range documents {
		objects = append(objects, document(id))
	}
	return objects
}
