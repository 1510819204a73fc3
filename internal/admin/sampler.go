package admin

import (
	"bytes"
	"context"
	"sync"
	"time"

	"casq/internal/database"
)

// keptFor is how far back the plots go.
const keptFor = time.Hour

// When nobody has looked for so long, a sample is taken more rarely, for the plots.
const (
	watchedFor = time.Minute
	idleFactor = 6
)

// rateOver is the time over which a rate is measured.
const rateOver = 5 * time.Minute

// point is what is kept of a sample.
type point struct {
	at      time.Time
	numbers [len(plotted)]float64
	open    map[string]int64 // by kind
}

// sampler reads the database for all who look, and keeps what they are shown.
//
// mu guards the rest. What a frame points to is never changed.
type sampler struct {
	server *Server

	mu      sync.Mutex
	points  []point
	last    *sample
	failed  string    // why the newest try got nothing; "": it got something
	since   time.Time // when that began
	frame   []byte    // what is shown, rendered
	news    chan struct{}
	streams int
	looked  time.Time // when somebody has looked last
	ended   bool

	wake chan struct{} // has one when somebody looks, and nobody did before
}

func newSampler(s *Server) *sampler {
	return &sampler{server: s, news: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// start shows that nothing was read yet.
func (s *sampler) start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(ctx)
}

// run samples until ctx is done. The next sample comes an interval after the last one has
// been read: a database that is slow is not asked more often.
func (s *sampler) run(ctx context.Context) {
	for {
		s.round(ctx)
		if !s.wait(ctx) {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	close(s.news)
}

// wait returns when it is time for the next sample; false: ctx is done.
func (s *sampler) wait(ctx context.Context) bool {
	interval := s.server.cfg.Interval
	s.mu.Lock()
	if !s.watched() {
		interval *= idleFactor
	}
	s.mu.Unlock()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s.wake:
	case <-timer.C:
	}
	return true
}

// watched tells whether somebody looks, or has just looked. The caller has mu.
func (s *sampler) watched() bool { return s.streams > 0 || time.Since(s.looked) < watchedFor }

// look notes that somebody looks. The caller has mu.
func (s *sampler) look() {
	if !s.watched() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.looked = time.Now()
}

func (s *sampler) round(ctx context.Context) {
	taken, err := s.server.read(ctx)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.failed == "":
		s.since = time.Now()
		if s.last != nil { // what it has answered last
			s.since = s.last.At
		}
		fallthrough
	case err != nil:
		s.failed = database.Explain(err)
	default:
		s.failed = ""
		s.keep(taken)
	}
	s.show(ctx)
}

// keep adds a sample to what is kept. The caller has mu.
func (s *sampler) keep(taken *sample) {
	p := point{at: taken.At, open: make(map[string]int64)}
	for i, of := range plotted {
		p.numbers[i] = of.number(taken)
	}
	for i := range taken.Kinds {
		k := &taken.Kinds[i]
		p.open[k.Kind] = k.Open
		k.Rate, k.ETA = s.rate(k, taken.At)
	}
	s.points = append(s.points, p)
	for taken.At.Sub(s.points[0].at) > keptFor {
		s.points = s.points[1:]
	}
	s.last = taken
}

// rate is how fast what is left of a kind gets less, a minute, and how long that takes; 0:
// it does not. The caller has mu.
func (s *sampler) rate(k *kind, now time.Time) (rate float64, eta time.Duration) {
	for _, p := range s.points {
		past := now.Sub(p.at)
		if past > rateOver {
			continue
		}
		was, known := p.open[k.Kind]
		if !known || past <= 0 || was <= k.Open {
			return 0, 0
		}
		rate = float64(was-k.Open) / past.Minutes()
		return rate, time.Duration(float64(k.Open) / rate * float64(time.Minute)).Round(time.Second)
	}
	return 0, 0
}

// show renders what everybody is shown, and wakes them. The caller has mu.
func (s *sampler) show(ctx context.Context) {
	var out bytes.Buffer
	if err := s.server.pages.ExecuteTemplate(&out, "live", s.view(time.Now())); err != nil {
		s.server.cfg.Logger.ErrorContext(ctx, "cannot render the page", "err", err)
		return
	}
	s.frame = out.Bytes()
	close(s.news)
	s.news = make(chan struct{})
}

// current is for who looks: the frame that is shown, and what is closed when there is another one; ended
// tells that none will come.
func (s *sampler) current() (frame []byte, news <-chan struct{}, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	return s.frame, s.news, s.ended
}

// enter counts an open stream in, unless there are too many.
func (s *sampler) enter(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams >= most || s.ended {
		return false
	}
	s.look()
	s.streams++
	return true
}

func (s *sampler) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
}
