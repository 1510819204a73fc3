package eventlog_test

import (
	"errors"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
)

// promotion is a primary whose standby is promoted in the course of a test.
type promotion struct {
	*logBundle
	cluster *testdb.Cluster
	second  *logBundle // the standby
}

func setupPromotion(t *testing.T) *promotion {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	return &promotion{
		logBundle: newLog(t, manyConns(t, cluster.URL())),
		cluster:   cluster,
		second:    &logBundle{manyConns(t, cluster.StandbyURL(0))},
	}
}

// cutOff makes the standby miss what the primary writes from now on.
func (p *promotion) cutOff(t *testing.T) {
	t.Helper()
	standby := p.cluster.Standbys[0]
	if err := standby.WaitReplayed(t.Context(), p.cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := standby.CutOff(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition on the primary.
func (b *logBundle) until(t *testing.T, condition string) {
	t.Helper()
	await.Row(t, 30*time.Second, b.pool, condition)
}

func (p *promotion) promote(t *testing.T) {
	t.Helper()
	if err := p.cluster.Standbys[0].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *promotion) wantErr(t *testing.T, b *logBundle, at eventlog.Position, want error) {
	t.Helper()
	batch, err := eventlog.NewReader(b.pool, 2).Next(t.Context(), at)
	if !errors.Is(err, want) {
		t.Fatalf("from %v: read %v, %v; want %v", at, named(batch), err, want)
	}
}

// The new primary has all that the reader has read.
func TestReaderGoesOnAcrossAPromotion(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := setupPromotion(t)
	unfinished := p.begin(t) // dies with the old primary
	add(t, unfinished, "unfinished")
	p.write(t, "a1", "a2", "a3", "a4", "a5")
	p.tick(t)
	start := p.start(t)
	inStep := next(t, p.pool, start, 2)
	_, end := read(t, p.pool, start, 100)
	p.write(t, "a6", "a7") // replicated, without a tick of its own
	p.cutOff(t)
	p.promote(t)
	resources, at := read(t, p.second.pool, end, 100)
	wantResources(t, resources) // the new primary has taken no tick yet

	p.second.write(t, "b1", "b2", "b3")
	p.second.tick(t)
	if timeline := p.second.newest(t).Timeline.Ordinal; timeline != 2 {
		t.Fatalf("timeline %d after a promotion", timeline)
	}
	resources, at = read(t, p.second.pool, at, 2)
	wantResources(t, resources, "a6", "a7", "b1", "b2", "b3")
	if at != p.second.newest(t) {
		t.Errorf("ends at %v, want %v", at, p.second.newest(t))
	}
	// A step that was begun before the promotion, and one that crosses it.
	resources, _ = read(t, p.second.pool, inStep.Next, 2)
	wantResources(t, resources, "a3", "a4", "a5", "a6", "a7", "b1", "b2", "b3")
	for size := 1; size <= 6; size++ {
		resources, _ = read(t, p.second.pool, end, size)
		wantResources(t, resources, "a6", "a7", "b1", "b2", "b3")
	}
	crossing := next(t, p.second.pool, end, 2).Next
	if !crossing.InStep() {
		t.Fatal("a page of two of five events ended the step")
	}
	// The old primary, which goes on alone, is of an older timeline.
	p.wantErr(t, p.logBundle, at, eventlog.ErrLate)
	p.wantErr(t, p.logBundle, crossing, eventlog.ErrLate)
	p.write(t, "c1")
	p.tick(t)
	p.tick(t)
	p.wantErr(t, p.logBundle, at, eventlog.ErrLate)
	p.wantErr(t, p.logBundle, crossing, eventlog.ErrLate)
}

// The promoted standby lacks ticks that were read, and issues their ids again.
func TestReaderNoticesALossyPromotion(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := setupPromotion(t)
	p.write(t, "a1")
	p.tick(t)
	_, kept := read(t, p.pool, p.start(t), 100)
	p.cutOff(t)
	p.write(t, "lost1", "lost2", "lost3")
	p.tick(t)
	inStep := next(t, p.pool, kept, 2).Next
	_, beyond := read(t, p.pool, kept, 100)
	p.tick(t)
	_, farBeyond := read(t, p.pool, kept, 100)
	if beyond.Tick == farBeyond.Tick || !inStep.InStep() {
		t.Fatal("the test reads less than it means to")
	}
	lost := []eventlog.Position{inStep, beyond, farBeyond}

	p.promote(t)
	for _, at := range lost {
		p.wantErr(t, p.second, at, eventlog.ErrLate) // it may still come, for all one knows
	}
	for range 5 { // up to the lost ticks and beyond
		p.second.write(t, "b")
		p.second.tick(t)
		for _, at := range lost {
			p.wantErr(t, p.second, at, eventlog.ErrLost)
		}
	}
	var nonces [2]uuid.UUID
	for i, b := range []*logBundle{p.logBundle, p.second} {
		if err := b.pool.QueryRow(t.Context(), "SELECT nonce FROM casq.ticks WHERE id = $1", beyond.Tick).Scan(&nonces[i]); err != nil {
			t.Fatal(err)
		}
	}
	if nonces[0] == nonces[1] {
		t.Error("a tick that was issued again has the nonce of the first")
	}
	resources, _ := read(t, p.second.pool, kept, 100)
	wantResources(t, resources, "b", "b", "b", "b", "b")
	for _, at := range lost {
		w := p.rewind(t, p.second, at)
		if !errors.Is(w.Cause, eventlog.ErrLost) || w.From != at || w.To != kept || w.Newest != p.second.newest(t) || w.Everything || w.Incomparable {
			t.Errorf("from %v goes back so: %+v; want tick %d", at, w, kept.Tick)
		}
	}
	// The old primary has not lost them: it is late.
	if w, err := eventlog.NewReader(p.pool, 0).Rewind(t.Context(), beyond); !errors.Is(err, eventlog.ErrLate) {
		t.Errorf("goes back on a host that has lost nothing: %+v, %v", w, err)
	}
}

func (p *promotion) rewind(t *testing.T, b *logBundle, at eventlog.Position) eventlog.Rewind {
	t.Helper()
	w, err := eventlog.NewReader(b.pool, 0).Rewind(t.Context(), at)
	if err != nil {
		t.Fatalf("from %v: %v", at, err)
	}
	return w
}

// A step was read in part when its second half was lost: the ticks that are
// left of it show events that were not read.
func TestRewindOutOfAStep(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := setupPromotion(t)
	p.tick(t)
	before := p.newest(t)
	p.write(t, "a1", "a2", "a3", "a4")
	p.tick(t)
	p.tick(t) // kept too
	p.cutOff(t)
	p.write(t, "lost1")
	p.tick(t)
	inStep := next(t, p.pool, before, 2).Next
	p.promote(t)
	p.second.write(t, "b1")
	p.second.tick(t)
	w := p.rewind(t, p.second, inStep)
	if w.To != before || w.Everything || w.Incomparable {
		t.Errorf("goes back so: %+v; want the tick with which the step began", w)
	}
	resources, _ := read(t, p.second.pool, w.To, 2)
	wantResources(t, resources, "a1", "a2", "a3", "a4", "b1")
}

// A step led across a promotion, and a second one has lost its end.
func TestRewindOutOfAStepBetweenTimelines(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.tick(t)
	before := b.newest(t)
	b.write(t, "a1", "a2", "a3")
	b.exec(t, "UPDATE casq.timelines SET server_timeline = -1") // as if promoted since
	b.tick(t)
	inStep := next(t, b.pool, before, 2).Next
	if inStep.Timeline.Ordinal != 2 {
		t.Fatalf("the step leads to %v", inStep)
	}
	b.exec(t, "UPDATE casq.timelines SET server_timeline = -1")
	// Timeline 3 began with the tick that the step led to; timeline 2 with one before.
	b.exec(t, "UPDATE casq.ticks SET nonce = gen_random_uuid(), timeline = 2 WHERE id = $1", inStep.ToTick)
	b.tick(t)
	b.exec(t, "UPDATE casq.timelines SET began_tick = $1 WHERE timeline = 3", inStep.ToTick)
	w, err := eventlog.NewReader(b.pool, 0).Rewind(t.Context(), inStep)
	if err != nil {
		t.Fatal(err)
	}
	if w.To != before || w.Everything {
		t.Errorf("goes back so: %+v; want %v", w, before)
	}
}

// A server that was set back without a promotion, as from an image of its disk,
// issues ticks again in the same timeline.
func TestRewindOfAServerThatWasSetBack(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.write(t, "a")
	b.tick(t)
	at := b.newest(t)
	b.exec(t, "UPDATE casq.ticks SET nonce = gen_random_uuid() WHERE id = $1", at.Tick)
	w, err := eventlog.NewReader(b.pool, 0).Rewind(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if w.To != b.newest(t) || !w.Everything || !w.Incomparable {
		t.Errorf("goes back so: %+v; want the newest tick", w)
	}
}

// Two servers that were promoted apart are timeline 2 both.
func TestReaderTellsTimelinesOfOneOrdinalApart(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(2))
	first := newLog(t, testdb.Pool(t, cluster.URL()))
	first.tick(t)
	var at [2]eventlog.Position
	var servers [2]*logBundle
	for i, standby := range cluster.Standbys {
		if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
			t.Fatal(err)
		}
		if err := standby.Promote(t.Context()); err != nil {
			t.Fatal(err)
		}
		servers[i] = &logBundle{testdb.Pool(t, cluster.StandbyURL(i))}
		servers[i].write(t, "a")
		servers[i].tick(t)
		at[i] = servers[i].newest(t)
	}
	for i := range servers {
		_, err := eventlog.NewReader(servers[i].pool, 0).Next(t.Context(), at[1-i])
		if !errors.Is(err, eventlog.ErrLost) {
			t.Errorf("server %d says of the other's position: %v, want it lost", i, err)
		}
		w, err := eventlog.NewReader(servers[i].pool, 0).Rewind(t.Context(), at[1-i])
		if err != nil || w.To != at[i] || !w.Everything || !w.Incomparable {
			t.Errorf("server %d goes on so: %+v, %v; want its newest tick", i, w, err)
		}
	}
}
