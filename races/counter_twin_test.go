package races

import (
	"testing"

	"casq/internal/testing/expect"
	"casq/races/refreshkey"
)

// published is a twin: the published counters, with the refresh key or, as they
// were before that, with a value that is set to zero.
type published struct {
	*counterSite
	*refreshkey.Counters
	points *points
	log    *refreshkey.Follower

	asked   []int64 // the recounts
	started *stop
	scanned chan error
}

func (s *counterSite) refreshkey(t *testing.T, change ...func(*refreshkey.Config)) *published {
	t.Helper()
	p := &published{counterSite: s, points: newPoints()}
	cfg := refreshkey.Config{DB: s.pool, Redis: s.client, Hook: p.points.hook}
	for _, f := range change {
		f(&cfg)
	}
	p.Counters = refreshkey.New(cfg)
	must(t, p.Setup(t.Context()))
	var err error
	p.log, err = p.Follow(t.Context(), counterKind)
	must(t, err)
	t.Cleanup(p.points.releaseAll)
	return p
}

func (s *counterSite) zero(t *testing.T) *published {
	t.Helper()
	return s.refreshkey(t, func(cfg *refreshkey.Config) { cfg.Zero = true })
}

var must = expect.NoError

func (p *published) arrive(t *testing.T) {
	t.Helper()
	p.tick(t)
	must(t, p.log.CatchUp(t.Context()))
}

func (p *published) flush(t *testing.T) {
	t.Helper()
	for project := range int64(raceProjects) {
		must(t, p.Flush(t.Context(), project))
	}
}

func (p *published) start(t *testing.T, projects ...int64) {
	t.Helper()
	for _, project := range projects {
		asked, err := p.Ask(t.Context(), project)
		must(t, err)
		if !asked {
			t.Fatalf("project %d is being recounted", project)
		}
	}
	p.run(t)
}

// run has a worker take up recounts until there is none left, and returns when
// it has taken the first one. The others begin with the scan.
func (p *published) run(t *testing.T) {
	t.Helper()
	p.started, p.scanned = p.points.stopAt("scan:started"), make(chan error, 1)
	ctx := t.Context()
	go func() {
		found, err := true, error(nil)
		for found && err == nil {
			found, err = p.Scan(ctx)
		}
		p.scanned <- err
	}()
	p.started.wait(t)
}

func (p *published) scan(t *testing.T) {
	t.Helper()
	p.started.release()
	must(t, <-p.scanned)
}

func (p *published) end(t *testing.T) {
	t.Helper()
	projects, err := p.Finalize(t.Context())
	must(t, err)
	p.asked = append(p.asked, projects...)
}

// cleanUp is the job in the background.
func (p *published) cleanUp(t *testing.T) {
	t.Helper()
	for _, project := range p.asked {
		must(t, p.CleanUp(t.Context(), project))
	}
}

func (p *published) flushed(t *testing.T, project int64) int64 {
	t.Helper()
	size, err := p.Column(t.Context(), project)
	must(t, err)
	return size
}

func (p *published) live(t *testing.T, project int64) int64 {
	t.Helper()
	size, err := p.Value(t.Context(), project)
	must(t, err)
	return size
}

var _, _ recounter = (*published)(nil), (*ours)(nil)

// countRace plays an interleaving for casq and for the twins. zero and
// refreshkey are what these come to, by project, where that is wrong; wins says
// that the published fix is right.
type countRace struct {
	// name tells apart the cases of one race.
	name string
	play func(t *testing.T, s *counterSite, r recounter)
	// projects that are compared with the table.
	projects         []int64
	zero, refreshkey map[int64]int64
	wins             bool
}

func (c countRace) run(t *testing.T) {
	t.Helper()
	zero, published, ours := "twin/zero", "twin/refreshkey", "ours"
	if c.name != "" {
		zero, published, ours = zero+", "+c.name, published+", "+c.name, ours+"/"+c.name
	}
	if c.zero != nil {
		t.Run(zero, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			c.wrong(t, s, s.zero(t), c.zero)
		})
	}
	if c.refreshkey != nil {
		t.Run(published, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			c.wrong(t, s, s.refreshkey(t), c.refreshkey)
		})
	}
	if c.wins {
		t.Run(published+"/wins", func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			twin := s.refreshkey(t)
			c.play(t, s, twin)
			want := map[int64]int64{}
			for _, project := range c.projects {
				want[project] = s.real(t, project)
			}
			quiesce(t, twin, want)
		})
	}
	t.Run(ours, func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		o := s.ours(t)
		c.play(t, s, o)
		o.quiesceReal(t, c.projects...)
	})
}

// wrong checks that a twin comes to just these values, and that they are wrong.
func (c countRace) wrong(t *testing.T, s *counterSite, twin *published, values map[int64]int64) {
	t.Helper()
	c.play(t, s, twin)
	quiesce(t, twin, values)
	for project, value := range values {
		if value == s.real(t, project) {
			t.Errorf("project %d: %d is what there is", project, value)
		}
	}
}
