package recount

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/feed"
	"casq/counter/internal/shards"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// model is random work on the table, on the counters and against them. Whatever
// comes in whatever order, a value that is read is the sum of the events up to
// the position that it names; and in the end, of the rows of the table.
type model struct {
	*testBundle
	buf       *buffer.Buffer
	t         *testing.T
	r         *rapid.T // nil: nothing comes between
	next      int64
	open      []pgx.Tx
	scans     []int64
	finalizes []Finalize
	parts     []heldPart
	feeders   []*feed.Feeder // that remember where the shards were
	copies    []copied
	done      []string // the last actions
	// enough is when no more checks are begun. 0: all are made.
	enough time.Duration
}

type heldPart struct {
	shard int
	buffer.Part
}

// copied is a key as it was once.
type copied struct{ key, dump string }

const modelScopes = 5

func TestModel(t *testing.T) {
	long.Test(t)
	t.Parallel()
	m := &model{t: t}
	if flag.Lookup("rapid.checks").Value.String() == usualChecks {
		m.enough = 20 * time.Second // on a busy machine; else it takes about that
		if testing.Short() {
			m.enough = 5 * time.Second
		}
	}
	m.testBundle = setup(t, func(c *settings) { c.PageSize, c.Hook = 4, m.between })
	m.play()
}

func (m *model) play() {
	t := m.t
	// Nothing beside the rest; and feeders that remember where the shards were go on from there.
	m.use(func(s *settings) { s.SideBySide, s.Recheck = 1, time.Hour })
	m.patience, m.swapBatch = 0, 2                               // not all shards at once
	m.since = func(time.Time) time.Duration { return time.Hour } // each part has one scope
	m.Exec(t, "CREATE INDEX ON artifacts (project)")
	m.buf, _ = m.testBundle.Open(t)
	actions := map[string]func(*rapid.T){
		"change":   m.change,
		"late":     m.late,
		"later":    m.late,
		"end":      m.endOpen,
		"tick":     func(*rapid.T) { m.Tick(t) },
		"feed":     m.feedSome,
		"remember": m.feedAgain,
		"without":  m.feedWithout,
		"freeze":   m.freeze,
		"commit":   m.commit,
		"drop":     m.drop,
		"flush":    func(*rapid.T) { m.FlushAll(t) },
		"recount":  m.ask,
		"scan":     m.scan,
		"finalize": m.finalize,
		"divide":   m.divide,
		"whole":    m.recountInBetween,
		"another":  m.recountInBetween,
		"third":    m.recountInBetween,
		"wipe":     func(*rapid.T) { m.Wipe(t) },
		"evict":    m.evict,
		"copy":     m.copy,
		"restore":  m.restore,
		"forget":   func(*rapid.T) { m.Redis.ScriptFlush(t.Context()) },
	}
	for name, act := range actions {
		actions[name] = func(r *rapid.T) {
			m.r, m.done = r, append(m.done[max(0, len(m.done)-40):], name)
			act(r)
			m.r = nil
		}
	}
	actions[""] = m.check
	began := time.Now()
	rapid.Check(t, func(r *rapid.T) {
		if m.enough > 0 && time.Since(began) > m.enough {
			return
		}
		m.r = nil
		r.Repeat(actions)
		m.quiesce(r)
	})
}

// What others do that matters most at some points.
const (
	ends  = 1
	ticks = 2
)

// between is what others do at the named points of a step.
func (m *model) between(point string) {
	r := m.r
	if r == nil {
		return
	}
	m.r = nil // nothing comes between these
	defer func() { m.r = r }()
	what := rapid.IntRange(0, 19).Draw(r, point)
	if usual := map[string]int{"scan:started": ends, "finalize:summed": ticks}; what > 9 && usual[point] > 0 {
		what = usual[point]
	}
	m.done = append(m.done, fmt.Sprint(point, " ", what))
	switch what {
	case ends:
		m.endOpen(r)
	case ticks:
		m.Tick(m.t)
	case 3:
		m.change(r)
	case 4:
		m.Wipe(m.t)
	case 5:
		m.evict(r)
	case 6:
		m.freeze(r)
	case 7:
		if !strings.HasSuffix(point, "locked") { // nobody comes past a lock
			m.feedSome(r)
			m.commit(r)
		}
	}
}

// recountInBetween is a whole recount, among others.
func (m *model) recountInBetween(r *rapid.T) {
	m.ask(r)
	m.late(r)
	m.Tick(m.t)
	m.took()
	m.scans = slices.DeleteFunc(m.scans, func(id int64) bool { return m.scanOne(r, id) })
	m.change(r)
	m.freeze(r)
	m.took()
	m.finalizes = slices.DeleteFunc(m.finalizes, func(f Finalize) bool { return m.finalizeOne(r, f) })
}

// statements change some rows in one way each.
func (m *model) statement(r *rapid.T) (sql string, args []any) {
	m.next++
	scope := rapid.IntRange(0, modelScopes-1).Draw(r, "scope")
	size := rapid.SampledFrom([]int64{0, 1, 100, 1 << 39, 1 << 41, 1 << 50}).Draw(r, "size")
	some := rapid.IntRange(0, 6).Draw(r, "some")
	switch rapid.IntRange(0, 4).Draw(r, "statement") {
	case 0, 1:
		return "INSERT INTO artifacts SELECT $1 * 10 + n, $2, $3 FROM generate_series(0, 2) AS n", []any{m.next, scope, size}
	case 2:
		return "UPDATE artifacts SET size = $2 WHERE id % 7 = $1", []any{some, size}
	case 3:
		return "UPDATE artifacts SET project = $2 WHERE id % 7 = $1", []any{some, scope}
	default:
		return "DELETE FROM artifacts WHERE id % 7 = $1", []any{some}
	}
}

func (m *model) change(r *rapid.T) {
	sql, args := m.statement(r)
	m.endOpen(r)
	m.Exec(m.t, sql, args...)
}

// late begins a transaction that commits later; only inserts, so that nobody
// waits for its rows.
func (m *model) late(r *rapid.T) {
	if len(m.open) > 2 {
		m.endOpen(r)
		return
	}
	tx, err := m.Pool.Begin(m.t.Context())
	if err != nil {
		r.Fatal(err)
	}
	m.next++
	_, err = tx.Exec(m.t.Context(), "INSERT INTO artifacts VALUES ($1 * 10, $2, 7)", m.next, rapid.IntRange(0, modelScopes-1).Draw(r, "scope"))
	if err != nil {
		r.Fatal(err)
	}
	m.open = append(m.open, tx)
}

// endOpen ends one of the open transactions.
func (m *model) endOpen(r *rapid.T) {
	if len(m.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(r, "open")
	end := m.open[i].Commit
	if rapid.IntRange(0, 3).Draw(r, "rollback") == 0 {
		end = m.open[i].Rollback
	}
	m.open = slices.Delete(m.open, i, i+1)
	if err := end(m.t.Context()); err != nil {
		r.Fatal(err)
	}
}

func (m *model) feedSome(r *rapid.T) {
	shards := rapid.SampledFrom([][]int{{0}, {1, 2}, {0, 1, 2, 3}}).Draw(r, "shards")
	f := m.Feeds.NewFeeder(m.buf, 4, shards...)
	for range 2 {
		if _, err := f.Round(m.t.Context()); err != nil {
			r.Fatal(err)
		}
	}
}

// feedAgain is for one that was away since its last step, and knows nothing of
// what has happened since.
func (m *model) feedAgain(r *rapid.T) {
	if len(m.feeders) < 4 {
		buf := m.buf
		if len(m.feeders) == 3 {
			buf = nil
		}
		m.feeders = append(m.feeders, m.Feeds.NewFeeder(buf, 4, 0, 1, 2, 3))
	}
	f := m.feeders[rapid.IntRange(0, len(m.feeders)-1).Draw(r, "feeder")]
	if _, err := f.Round(m.t.Context()); err != nil {
		r.Fatal(err)
	}
}

func (m *model) feedWithout(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "seldom") > 0 {
		return
	}
	f := m.Feeds.NewFeeder(nil, 4, 0, 1, 2, 3)
	if _, err := f.Round(m.t.Context()); err != nil {
		r.Fatal(err)
	}
}

// A flush in its three steps, each of which may be the last, or come late.
func (m *model) freeze(r *rapid.T) {
	shard := rapid.IntRange(0, 3).Draw(r, "shard")
	part, err := m.buf.Freeze(m.t.Context(), shard)
	switch {
	case errors.Is(err, buffer.ErrNotIntact):
	case err != nil:
		r.Fatal(err)
	case part.Base != part.Head:
		m.parts = append(m.parts, heldPart{shard, part})
	}
}

func (m *model) part(r *rapid.T) (heldPart, bool) {
	if len(m.parts) == 0 {
		return heldPart{}, false
	}
	m.parts = m.parts[max(0, len(m.parts)-5):]
	return m.parts[rapid.IntRange(0, len(m.parts)-1).Draw(r, "part")], true
}

func (m *model) commit(r *rapid.T) {
	part, ok := m.part(r)
	if !ok {
		return
	}
	to, err := part.Head.Position()
	if err != nil {
		r.Fatal(err)
	}
	var flushed bool
	err = pgx.BeginFunc(m.t.Context(), m.Pool, func(tx pgx.Tx) error {
		at, err := shards.Lock(m.t.Context(), tx, part.shard)
		if err != nil || buffer.StampOf(at) != part.Base {
			return err
		}
		return m.Feeds.FlushPart(m.t.Context(), tx, part.shard, part.Part, to, &flushed)
	})
	if err != nil {
		r.Fatal(err)
	}
}

// drop drops what was flushed: never before.
func (m *model) drop(r *rapid.T) {
	part, ok := m.part(r)
	if !ok {
		return
	}
	flushed, err := shards.Positions(m.t.Context(), m.Pool)
	if err != nil {
		r.Fatal(err)
	}
	if buffer.StampOf(flushed[part.shard]) != part.Head {
		return
	}
	if err := m.buf.Drop(m.t.Context(), part.shard, part.Part); err != nil {
		r.Fatal(err)
	}
}

func (m *model) key(r *rapid.T) string {
	keys := m.buf.Keys(rapid.IntRange(0, 3).Draw(r, "shard"))
	return keys[rapid.IntRange(0, 1).Draw(r, "key")]
}

func (m *model) evict(r *rapid.T) { m.Redis.Del(m.t.Context(), m.key(r)) }

func (m *model) copy(r *rapid.T) {
	key := m.key(r)
	dump, err := m.Redis.Dump(m.t.Context(), key).Result()
	if err == nil {
		m.copies = append(m.copies[max(0, len(m.copies)-8):], copied{key, dump})
	}
}

// restore puts an older copy of one key in place.
func (m *model) restore(r *rapid.T) {
	if len(m.copies) == 0 {
		return
	}
	c := m.copies[rapid.IntRange(0, len(m.copies)-1).Draw(r, "copy")]
	if err := m.Redis.RestoreReplace(m.t.Context(), c.key, 0, c.dump).Err(); err != nil {
		r.Fatal(err)
	}
}

func (m *model) ask(r *rapid.T) {
	request := Request{Kind: "artifact", Compare: rapid.Bool().Draw(r, "compare")}
	if request.All = rapid.Bool().Draw(r, "all"); !request.All {
		scope, others := rapid.IntRange(0, modelScopes-1).Draw(r, "scope"), rapid.IntRange(0, 2).Draw(r, "others")
		for i := range others + 1 {
			request.Scopes = append(request.Scopes, fmt.Sprint((scope+i)%modelScopes))
		}
	}
	_, _, err := m.Refresh(m.t.Context(), request)
	if err != nil && !errors.Is(err, ErrNoScope) {
		r.Fatal(err)
	}
}

func (m *model) took() {
	scans, finalizes := m.queue.take()
	m.scans, m.finalizes = append(m.scans, scans...), append(m.finalizes, finalizes...)
}

// scan carries out, or repeats, one that was queued.
func (m *model) scan(r *rapid.T) {
	m.took()
	if len(m.scans) == 0 {
		return
	}
	m.scanOne(r, m.scans[rapid.IntRange(0, len(m.scans)-1).Draw(r, "scan")])
}

func (m *model) scanOne(r *rapid.T, id int64) (over bool) {
	err := m.Scan(m.t.Context(), id, 1, m.process)
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrSuperseded) {
		r.Fatal(err)
	}
	return errors.Is(err, ErrSuperseded)
}

// divide is a scan that takes too long.
func (m *model) divide(r *rapid.T) {
	m.took()
	if len(m.scans) == 0 {
		return
	}
	s, err := m.startScan(m.t.Context(), m.scans[rapid.IntRange(0, len(m.scans)-1).Draw(r, "scan")], 1, m.process)
	switch {
	case err == nil && (s.all || len(s.scopes) > 1):
		err = s.divide(m.t.Context())
	case err == nil:
		err = s.giveUp(m.t.Context(), ErrBusy)
	}
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrSuperseded) {
		r.Fatal(err)
	}
}

func (m *model) finalize(r *rapid.T) {
	m.took()
	if len(m.finalizes) == 0 {
		return
	}
	m.finalizeOne(r, m.finalizes[rapid.IntRange(0, len(m.finalizes)-1).Draw(r, "finalize")])
}

func (m *model) finalizeOne(r *rapid.T, f Finalize) (over bool) {
	err := m.Finalize(m.t.Context(), f, 2)
	if err != nil && !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrSuperseded) {
		r.Fatal(err)
	}
	return errors.Is(err, ErrSuperseded)
}
