package races

import (
	"sync"
	"testing"
	"time"
)

// points are the named points at which the real packages can be stopped.
//
// mu guards the rest.
type points struct {
	mu     sync.Mutex
	armed  map[string]*stop
	all    []*stop
	passed map[string]int
}

// stop is one of them: the first one that comes by waits there.
type stop struct {
	reached  chan struct{}
	released chan struct{}
	once     sync.Once
}

func newPoints() *points {
	return &points{armed: map[string]*stop{}, passed: map[string]int{}}
}

// stopAt makes the next one that comes to the point wait there.
func (p *points) stopAt(point string) *stop {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &stop{reached: make(chan struct{}), released: make(chan struct{})}
	p.armed[point] = s
	p.all = append(p.all, s)
	return s
}

func (p *points) hook(point string) {
	p.mu.Lock()
	p.passed[point]++
	s := p.armed[point]
	delete(p.armed, point)
	p.mu.Unlock()
	if s != nil {
		close(s.reached)
		<-s.released
	}
}

// count is how often a point was passed, or stopped at.
func (p *points) count(point string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[point]
}

func (p *points) releaseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		s.release()
	}
}

// wait returns when somebody has stopped there.
func (s *stop) wait(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.reached:
	case <-timer.C:
		t.Fatal("nobody came to the point")
	}
}

func (s *stop) release() { s.once.Do(func() { close(s.released) }) }
