package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
)

// signalKind is that of the log's events that tell of builds and runners: see
// casq.signal_builds.
const signalKind = "casq:builds"

// tickEvery is how often the log is read while requests wait, idleEvery otherwise.
const (
	tickEvery      = 50 * time.Millisecond
	idleEvery      = time.Second
	contendedAfter = 100 * time.Millisecond
)

// news is what this process has read of the log.
//
// mu guards everything.
type news struct {
	mu sync.Mutex
	// newest is the newest tick with news, or the one at which following began.
	newest update
	// count is how often there was news.
	count int64
	// nothing has, by class, the tick before a poll that found nothing, until there is news
	// of a lane that the class takes.
	nothing map[string]seen
}

type seen struct {
	class  class
	update update
}

func newNews() *news { return &news{nothing: make(map[string]seen)} }

// read returns the newest tick with news. It is asked before the queue is;
// count is for found.
func (n *news) read() (newest update, count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest, n.count
}

// noted returns the tick before a poll that has found nothing for the class since.
func (n *news) noted(c class) (update, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, there := n.nothing[c.key()]
	return s.update, there
}

// note keeps that a poll after read has found nothing, unless there was news meanwhile.
func (n *news) note(c class, at update, count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count == count && at != (update{}) {
		n.nothing[c.key()] = seen{c, at}
	}
}

// of takes in news of a lane, which asks for the tags. It comes before the waiters are
// woken: who enters the room later sees it.
func (n *news) of(l lane, tags []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	for key, s := range n.nothing {
		if s.class.takes(tags, l.project) {
			delete(n.nothing, key)
		}
	}
}

// turn takes in a tick with news; everything says that nothing is known any more.
func (n *news) turn(at update, everything bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest = at
	n.count++
	if everything {
		clear(n.nothing)
	}
}

// signal is the payload of an event.
type signal struct {
	TagSet  *int32 `json:"tag_set"`
	Project int64  `json:"project"`
	Runner  *int64 `json:"runner"`
}

// follower reads the log, and hints.
type follower struct {
	*Coordinator
	reader *eventlog.Reader
	at     *eventlog.Position // nil: not begun
	queued *int64             // the newest build in the queue that a hint told of
	next   struct{ ticks, lanes time.Time }
}

// follow wakes requests until ctx is done.
func (c *Coordinator) follow(ctx context.Context) {
	f := &follower{Coordinator: c, reader: eventlog.NewReaderOf(c.primary, signalKind, 0)}
	for ctx.Err() == nil {
		wait := c.options.Poll
		if !c.round(ctx, "follow the log of builds", f.poll) {
			wait = time.Second
		}
		if c.room.size() == 0 {
			c.room.awaitEntry(ctx, idleEvery)
			continue
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

// poll does what is due. Hints need no log: builds are handed out also while nobody
// takes ticks.
func (f *follower) poll(ctx context.Context) error {
	now, waiting := time.Now(), f.room.size() > 0
	var errs []error
	if waiting {
		errs = append(errs, f.hints(ctx))
	}
	if !now.Before(f.next.ticks) {
		errs = append(errs, f.ticks(ctx))
		f.next.ticks = now.Add(tickEvery)
	}
	if waiting && (!now.Before(f.next.lanes) || f.room.contended(contendedAfter)) {
		f.room.tryAll()
		err := f.lanes(ctx)
		if f.next.lanes = now; err == nil { // else again with the next round
			f.next.lanes = now.Add(f.options.Recheck)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// begin starts at the newest tick. What came before is not known: everybody polls.
func (f *follower) begin(ctx context.Context) error {
	rewind, err := f.reader.StartOver(ctx, nil)
	if err != nil {
		return err
	}
	f.at, f.queued = &rewind.To, nil // a sequence may have gone back with a failover
	f.runners.forgetAll()
	f.news.turn(update{rewind.To.Tick, rewind.To.Nonce}, true)
	f.room.wakeAll()
	return nil
}

// ticks reads the log up to its newest tick.
func (f *follower) ticks(ctx context.Context) error {
	if f.at == nil {
		if err := f.begin(ctx); errors.Is(err, eventlog.ErrNoTicks) {
			return nil // nobody has taken one yet; hints go on
		} else if err != nil {
			return err
		}
	}
	for {
		batch, err := f.reader.Next(ctx, *f.at)
		switch {
		case errors.Is(err, eventlog.ErrLost), errors.Is(err, eventlog.ErrPruned), errors.Is(err, eventlog.ErrForeign):
			f.log.WarnContext(ctx, "the log does not go on where builds were followed, looking at everything", "err", err)
			f.at = nil
			return nil
		case errors.Is(err, eventlog.ErrLate):
			return nil
		case err != nil:
			return err
		case batch.Next == *f.at:
			return nil
		}
		if err := f.take(ctx, parse(batch.Events), batch.Next); err != nil {
			return err
		}
		*f.at = batch.Next
	}
}

// take acts on a page of events. What is known is corrected before anybody is woken, and
// the tick becomes the newest when all of it has been: whoever is told of it could have
// heard everything that it shows.
func (f *follower) take(ctx context.Context, signals []signal, at eventlog.Position) error {
	if len(signals) == 0 && !f.at.InStep() {
		return nil
	}
	var lanes []lane
	for _, s := range signals {
		if s.TagSet != nil {
			lanes = append(lanes, lane{*s.TagSet, s.Project})
		}
	}
	if err := f.tags.learn(ctx, lanes); err != nil {
		return err
	}
	for _, s := range signals {
		if s.Runner != nil {
			f.runners.forget(*s.Runner)
		}
	}
	for _, l := range lanes {
		f.news.of(l, f.tags.get(l.tagSet))
	}
	if at.InStep() { // Nobody is told of it, nor of the one before: part of this one is told.
		f.news.turn(update{}, false)
	} else {
		f.news.turn(update{at.Tick, at.Nonce}, false)
	}
	for _, s := range signals {
		if s.Runner != nil {
			f.room.wakeRunner(*s.Runner)
		}
	}
	return f.wakeStill(ctx, lanes)
}

// wakeStill wakes for those of the lanes that have builds in the queue. Most had their
// hint before the tick, and were picked.
func (f *follower) wakeStill(ctx context.Context, lanes []lane) error {
	if len(lanes) == 0 || f.room.size() == 0 {
		return nil
	}
	sets, projects := make([]int32, len(lanes)), make([]int64, len(lanes))
	for i, l := range lanes {
		sets[i], projects[i] = l.tagSet, l.project
	}
	rows, err := f.primary.Query(ctx, pickSQL.Still, sets, projects)
	if err != nil {
		return fmt.Errorf("ask for what is still queued: %w", err)
	}
	return f.wakeRows(ctx, rows, true)
}

// hints wakes for builds that are there before a tick tells of them.
func (f *follower) hints(ctx context.Context) error {
	if f.queued == nil {
		f.queued = new(int64)
		if err := f.primary.QueryRow(ctx, pickSQL.NewestQueued).Scan(f.queued); err != nil {
			f.queued = nil
			return fmt.Errorf("find the newest build in the queue: %w", err)
		}
	}
	rows, err := f.primary.Query(ctx, pickSQL.Queued, *f.queued)
	if err != nil {
		return fmt.Errorf("ask for new builds: %w", err)
	}
	var lanes []lane
	var l lane
	_, err = pgx.ForEachRow(rows, []any{f.queued, &l.tagSet, &l.project}, func() error {
		lanes = append(lanes, l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask for new builds: %w", err)
	}
	return f.wakeLanes(ctx, lanes, false)
}

// lanes wakes for whatever there is in the queue, whoever should have told of it.
func (f *follower) lanes(ctx context.Context) error {
	rows, err := f.primary.Query(ctx, pickSQL.Lanes)
	if err != nil {
		return fmt.Errorf("ask for what is queued: %w", err)
	}
	return f.wakeRows(ctx, rows, true)
}

func (f *follower) wakeRows(ctx context.Context, rows pgx.Rows, more bool) error {
	var lanes []lane
	var l lane
	_, err := pgx.ForEachRow(rows, []any{&l.tagSet, &l.project}, func() error {
		lanes = append(lanes, l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask for what is queued: %w", err)
	}
	return f.wakeLanes(ctx, lanes, more)
}

func (f *follower) wakeLanes(ctx context.Context, lanes []lane, more bool) error {
	if err := f.tags.learn(ctx, lanes); err != nil {
		return err
	}
	for _, l := range lanes {
		tags := f.tags.get(l.tagSet)
		f.news.of(l, tags)
		f.room.wakeFor(hint{lane: l, more: more}, tags)
	}
	return nil
}

func parse(events []eventlog.Event) []signal {
	signals := make([]signal, 0, len(events))
	for i := range events {
		var s signal
		if json.Unmarshal(events[i].Payload, &s) == nil { // Anybody may append an event.
			signals = append(signals, s)
		}
	}
	return signals
}
