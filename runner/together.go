package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// Requests that ask for the same builds stand in one line, and those that are in it when a
// pick begins are picked for together: groupSize at most. One that comes alone finds no line,
// and goes at once. groupsAtOnce is how many groups of one line are under way: see "One pick
// for several" in DESIGN.md.
const (
	groupSize    = 32
	groupsAtOnce = 1
	hangsAfter   = 250 * time.Millisecond
)

// picking is a request in a line.
type picking struct {
	ctx     context.Context
	request request
	deep    bool // see pickOfMore

	hash       []byte // of the job token that it gets
	assignment assignment
	outcome    outcome
	err        error
	// alone says that nothing came of it, as it has to be picked for by itself.
	alone bool
	done  chan struct{}
}

// line is one of requests that are picked for together.
type line struct {
	key     string
	waiting []*picking // who came first in front
	groups  int        // that are under way, or about to be
	begun   time.Time  // when the newest of them began
}

// lines are those of a process.
//
// mu guards byKey and what is in it.
type lines struct {
	slots  chan struct{}
	joined func()                 // is called after each that is in line
	pick   func(group []*picking) // answers each, but does not close done

	mu    sync.Mutex
	byKey map[string]*line
}

func (l *lines) init(slots chan struct{}, joined func(), pick func([]*picking)) {
	l.slots, l.joined, l.pick, l.byKey = slots, joined, pick, make(map[string]*line)
}

// stand has a request be picked for. It returns when that was done, or ctx is while it is
// still in line.
func (l *lines) stand(p *picking) {
	p.done = make(chan struct{})
	in := l.join(p)
	l.joined()
	select {
	case <-p.done:
	case <-p.ctx.Done():
		if l.leave(in, p) {
			p.outcome, p.err = none, context.Cause(p.ctx)
			return
		}
		<-p.done // it is being picked for, and may have got a build
	}
}

func (l *lines) join(p *picking) *line {
	key := p.request.runner.class.key()
	if p.deep {
		key += "deep"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.byKey[key]
	if in == nil {
		in = &line{key: key}
		l.byKey[key] = in
	}
	in.waiting = append(in.waiting, p)
	if in.groups < groupsAtOnce || time.Since(in.begun) > hangsAfter {
		in.groups++
		in.begun = time.Now()
		go l.serve(in)
	}
	return in
}

func (l *lines) leave(in *line, p *picking) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(in.waiting, p)
	if i >= 0 {
		in.waiting = slices.Delete(in.waiting, i, i+1)
	}
	return i >= 0
}

// serve picks for one group after the other until nobody is in line.
func (l *lines) serve(in *line) {
	for l.serveOne(in) {
	}
}

// serveOne has a group wait for its slot as a line: whoever comes meanwhile is in it.
func (l *lines) serveOne(in *line) bool {
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	group := l.next(in)
	if len(group) == 0 {
		return false
	}
	l.pick(group)
	for _, p := range group {
		close(p.done)
	}
	return true
}

func (l *lines) next(in *line) []*picking {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(in.waiting), groupSize)
	if n == 0 {
		in.groups--
		if in.groups == 0 {
			delete(l.byKey, in.key)
		}
		return nil
	}
	in.begun = time.Now()
	group := slices.Clone(in.waiting[:n])
	in.waiting = slices.Delete(in.waiting, 0, n)
	return group
}

// pickTogetherOfMore is to PickTogether what pickOfMore is to Pick.
var pickTogetherOfMore = strings.ReplaceAll(pickSQL.PickTogether, "LIMIT 16 +", "LIMIT 256 +")

// pickTogether answers a group of requests of one class. A failure is that of
// all, unless it may be about one of them: then each is picked for by itself.
func (c *Coordinator) pickTogether(group []*picking) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(group[0].ctx), takeWithin)
	defer cancel()
	c.options.Hook("grouped")
	err := c.tryTogether(ctx, group)
	c.options.Hook("picked")
	if err != nil {
		c.notPicked(ctx, group, err)
		return
	}
	var rest []*picking
	for _, p := range group {
		if p.outcome == none && !p.alone {
			rest = append(rest, p)
		}
	}
	if len(rest) == 0 {
		return
	}
	waits, _, err := waits(ctx, c.primary, group[0].request.runner.class, update{}) // see pick
	for _, p := range rest {
		if p.err = err; waits {
			p.outcome = locked
		}
	}
}

// notPicked answers a group whose transaction failed. Where its commit is in doubt, the
// builds are given back: nobody has their tokens. Should it commit only after that, they are
// handed out again as any whose runner shows no sign of life.
func (c *Coordinator) notPicked(ctx context.Context, group []*picking, err error) {
	apart := database.Code(err) != "" && !away(err)
	var runners []int64
	var hashes [][]byte
	for _, p := range group {
		p.assignment, p.outcome, p.alone = assignment{}, none, apart
		p.err = fmt.Errorf("pick builds for %d requests: %w", len(group), err)
		runners, hashes = append(runners, p.request.runner.id), append(hashes, p.hash)
	}
	if apart {
		c.log.WarnContext(ctx, "cannot pick for several requests at once, picking for each", "requests", len(group), "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	if _, err := c.change(ctx, nil, pickSQL.GiveBackAll, runners, hashes); err != nil {
		c.log.WarnContext(ctx, "cannot give back what may have been picked, it is handed out again when its runner shows no sign of life", "requests", len(group), "err", err)
	}
}

// tryTogether is one look at the queue for a group.
func (c *Coordinator) tryTogether(ctx context.Context, group []*picking) error {
	sql := pickSQL.PickTogether
	if group[0].deep {
		sql = pickTogetherOfMore
	}
	var ids []int64
	var known, hashes [][]byte
	var systems []string
	var features []json.RawMessage
	for _, p := range group {
		p.assignment.token = newJobToken()
		p.hash = hashOf(p.assignment.token)
		ids, known = append(ids, p.request.runner.id), append(known, p.request.runner.hash[:])
		hashes, systems, features = append(hashes, p.hash), append(systems, p.request.system), append(features, p.request.features)
	}
	class := group[0].request.runner.class
	var batch pgx.Batch
	batch.Queue(pickSQL.ByIndex)
	batch.Queue(sql, ids, known, hashes, systems, features, class.tags, class.untagged, class.projects, c.options.StartWithin.Seconds())
	results := c.primary.SendBatch(ctx, &batch)
	_, err := results.Exec()
	if err == nil {
		err = scanGroup(results, group)
	}
	return errors.Join(err, results.Close())
}

var errFewRows = errors.New("the pick has answered fewer requests than there were")

// scanGroup reads what came of the requests, in their order.
func scanGroup(results pgx.BatchResults, group []*picking) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for _, p := range group {
		var fits, paused bool
		var got row // each has a job of its own
		p.outcome = none
		if !rows.Next() {
			return cmp.Or(rows.Err(), errFewRows)
		}
		if err := rows.Scan(append([]any{&fits, &paused}, got.into()...)...); err != nil {
			return err
		}
		p.alone = !fits
		switch {
		case paused:
			p.outcome = busy
		case got.id == nil:
			p.outcome = none
		default:
			p.outcome = taken
			got.assign(&p.assignment)
		}
	}
	rows.Close()
	return rows.Err()
}
