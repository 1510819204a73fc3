package runner

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// class is what a runner takes. Runners of one class find the same builds.
type class struct {
	tags     []string // sorted
	untagged bool
	projects []int64 // nil: all
}

// key is the same for equal classes.
func (c class) key() string {
	var b strings.Builder
	for _, tag := range c.tags {
		b.WriteString(strconv.Itoa(len(tag)))
		b.WriteByte(':')
		b.WriteString(tag)
	}
	b.WriteString(strconv.FormatBool(c.untagged))
	if c.projects != nil {
		b.WriteByte('p')
	}
	for _, p := range c.projects {
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(p)))
	}
	return b.String()
}

// takes tells whether a runner of the class takes builds with the tags, of the project.
func (c class) takes(tags []string, project int64) bool {
	if c.projects != nil && !slices.Contains(c.projects, project) {
		return false
	}
	if len(tags) == 0 {
		return c.untagged
	}
	return !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(c.tags, tag) })
}

// lane is the builds of a project that ask for the same tags.
type lane struct {
	tagSet  int32
	project int64
}

// hint is why a waiter is woken. The zero hint is no lane's: see whether there is
// anything.
type hint struct {
	lane lane
	// more says that there may be more in the lane than one build: who takes one wakes
	// the next.
	more bool
}

// waiter is a request that waits for a build.
type waiter struct {
	runner int64
	class  class
	wake   chan hint // of one

	room  *room
	queue *classQueue
	awake bool // and so not in queue
	again bool // while it was awake there was news for its runner
	full  bool // its runner may have no build: see sleep
}

// classQueue has the waiters of one class, who came first in front.
type classQueue struct {
	class   class
	waiters []*waiter
	count   int // those that are awake included
}

// room is where requests wait. A build wakes one of them, which hands on what it does
// not use.
//
// mu guards everything.
type room struct {
	mu      sync.Mutex
	classes map[string]*classQueue
	runners map[int64]map[*waiter]struct{}
	waiting int
	locked  time.Time // see contend
	entered chan struct{}
}

func newRoom() *room {
	return &room{
		classes: make(map[string]*classQueue), runners: make(map[int64]map[*waiter]struct{}),
		entered: make(chan struct{}, 1),
	}
}

// enter adds a waiter, unless there are so many already, in all or of the runner.
func (r *room) enter(runner int64, c class, most, mostOfRunner int) *waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting >= most || len(r.runners[runner]) >= mostOfRunner {
		return nil
	}
	key := c.key()
	q := r.classes[key]
	if q == nil {
		q = &classQueue{class: c}
		r.classes[key] = q
	}
	w := &waiter{runner: runner, class: c, wake: make(chan hint, 1), room: r, queue: q}
	q.waiters = append(q.waiters, w)
	q.count++
	if r.runners[runner] == nil {
		r.runners[runner] = make(map[*waiter]struct{})
	}
	r.runners[runner][w] = struct{}{}
	r.waiting++
	select {
	case r.entered <- struct{}{}:
	default:
	}
	return w
}

// awaitEntry returns when somebody has entered, after d at the latest.
func (r *room) awaitEntry(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-r.entered:
	}
}

// contend says that there was something which others had locked: they may give it up
// without a word. contended tells, once, that this was said longer ago than d.
func (r *room) contend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked.IsZero() {
		r.locked = time.Now()
	}
}

func (r *room) contended(d time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked.IsZero() || time.Since(r.locked) < d {
		return false
	}
	r.locked = time.Time{}
	return true
}

// sleep has a waiter that was woken wait on, behind the others. One whose runner is full
// is not woken for a lane until there is news of the runner, or [room.tryAll]: two that
// are full would wake each other for the same build without end.
func (w *waiter) sleep(full bool) {
	w.room.mu.Lock()
	defer w.room.mu.Unlock()
	w.full = full
	if w.awake {
		w.awake = false
		w.queue.waiters = append(w.queue.waiters, w)
	}
	if w.again {
		w.again = false
		w.rouse(hint{})
	}
}

// leave takes a waiter out. What it was woken for, and has not used, comes back.
func (w *waiter) leave() (unused hint, woken bool) {
	r := w.room
	r.mu.Lock()
	defer r.mu.Unlock()
	w.queue.remove(w)
	w.queue.count--
	if w.queue.count == 0 {
		delete(r.classes, w.queue.class.key())
	}
	delete(r.runners[w.runner], w)
	if len(r.runners[w.runner]) == 0 {
		delete(r.runners, w.runner)
	}
	r.waiting--
	select {
	case unused = <-w.wake:
		return unused, true
	default:
		return hint{}, false
	}
}

// wakeFor wakes one waiter, if there is one, that takes builds of the lane, which asks for
// the tags: of its class the one that has waited longest, of those that are not full.
func (r *room) wakeFor(h hint, tags []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.classes {
		i := slices.IndexFunc(q.waiters, func(w *waiter) bool { return !w.full })
		if i >= 0 && q.class.takes(tags, h.lane.project) {
			q.waiters[i].rouse(h)
			return
		}
	}
}

// tryAll has waiters be woken for lanes also whose runners were full.
func (r *room) tryAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.classes {
		for _, w := range q.waiters {
			w.full = false
		}
	}
}

// wakeRunner has all waiters of a runner poll, and wakeAll all that wait.
func (r *room) wakeRunner(runner int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rouseOf(runner)
}

func (r *room) wakeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for runner := range r.runners {
		r.rouseOf(runner)
	}
}

func (r *room) rouseOf(runner int64) {
	for w := range r.runners[runner] {
		if w.awake {
			w.again = true
		} else {
			w.rouse(hint{})
		}
	}
}

// rouse wakes a waiter that sleeps: its channel is empty.
func (w *waiter) rouse(h hint) {
	w.queue.remove(w)
	w.awake, w.full = true, false
	w.wake <- h
}

func (q *classQueue) remove(w *waiter) {
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
	}
}

// size is how many wait.
func (r *room) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}
