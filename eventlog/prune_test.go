package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// prune prunes in small batches all that is not needed.
func (b *logBundle) prune(t testing.TB, retention time.Duration) eventlog.Pruned {
	t.Helper()
	pruned, err := eventlog.Prune(t.Context(), b.pool, retention, eventlog.Pruning{Ticks: 2, Events: 3})
	if err != nil {
		t.Fatal(err)
	}
	return pruned
}

// age makes all ticks older.
func (b *logBundle) age(t testing.TB, by time.Duration) {
	t.Helper()
	b.exec(t, "UPDATE casq.ticks SET taken_at = taken_at - $1::interval", by)
}

func (b *logBundle) resources(t testing.TB) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), "SELECT resource_id FROM casq.events ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	resources, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return resources
}

func (b *logBundle) follow(t testing.TB, cursor string, p eventlog.Position) {
	t.Helper()
	b.exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		cursor, p.System, p.Timeline.Ordinal, p.Timeline.ID, p.Tick, p.Nonce, p.ToTick, p.ToNonce, p.Page)
}

// askRecount tracks a table with a row, whose recount is asked for by that, and has it
// under way as of a tick.
func (b *logBundle) askRecount(t testing.TB, at eventlog.Position) {
	t.Helper()
	b.exec(t, "CREATE TABLE counted (id bigint PRIMARY KEY, scope bigint)")
	b.exec(t, "INSERT INTO counted VALUES (1, 1)")
	b.exec(t, "SELECT casq.track('counted', kind => 'counted', transfer => 'none', key_column => 'id', scope_column => 'scope')")
	b.exec(t, "UPDATE casq.scans SET floor_tick = $1, token = gen_random_uuid()", at.Tick)
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		needed func(t *testing.T, b *logBundle, at []eventlog.Position)
		want   []string // of a to e, each with a tick of its own
	}{
		{"nobody reads", func(*testing.T, *logBundle, []eventlog.Position) {}, nil},
		{"a cursor", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.follow(t, "x", at[4])
			b.follow(t, "y", at[2])
		}, []string{"d", "e"}},
		{"a cursor inside a step", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			p := next(t, b.pool, at[0], 2).Next
			if !p.InStep() {
				t.Fatal("not inside a step")
			}
			b.follow(t, "x", p)
		}, []string{"b", "c", "d", "e"}},
		{"a cursor that never moved", func(t *testing.T, b *logBundle, _ []eventlog.Position) {
			b.follow(t, "x", b.start(t))
		}, []string{"a", "b", "c", "d", "e"}},
		{"a cursor of another log", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			other := at[1]
			other.Nonce = uuid.New()
			b.follow(t, "x", other)
		}, nil},
		{"followers", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			for name, p := range map[string]eventlog.Position{"near": at[3], "away": at[1], "back": at[0], "other": {Tick: 1, Nonce: uuid.New()}} {
				known, err := eventlog.ReportFollower(t.Context(), b.pool, name, p, eventlog.Left{})
				if err != nil || known != (name != "other") {
					t.Fatalf("report of %s: known %t, %v", name, known, err)
				}
			}
			b.exec(t, "UPDATE casq.followers SET reported_at = reported_at - interval '25 hours' WHERE name IN ('away', 'back')")
			if _, err := eventlog.ReportFollower(t.Context(), b.pool, "back", at[2], eventlog.Left{}); err != nil {
				t.Fatal(err)
			}
		}, []string{"d", "e"}},
		{"a recount that is under way", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.askRecount(t, at[2])
		}, []string{"d", "e"}},
		{"a recount that waits", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.askRecount(t, at[2])
			b.exec(t, "UPDATE casq.scans SET token = NULL")
		}, nil},
		{"a recount that nobody carries out, as nothing is counted any more", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.askRecount(t, at[2])
			b.exec(t, "SELECT casq.untrack('counted')")
		}, nil},
		{"time", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.exec(t, "UPDATE casq.ticks SET taken_at = clock_timestamp() WHERE id >= $1", at[3].Tick)
		}, []string{"d", "e"}},
		{"a clock that was put back", func(t *testing.T, b *logBundle, at []eventlog.Position) {
			b.exec(t, "UPDATE casq.ticks SET taken_at = clock_timestamp() + interval '1 hour' WHERE id = $1", at[1].Tick)
		}, []string{"b", "c", "d", "e"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setupLog(t)
			var at []eventlog.Position
			for _, resource := range []string{"a", "b", "c", "d", "e"} {
				b.write(t, resource)
				b.tick(t)
				at = append(at, b.newest(t))
			}
			b.age(t, 2*day)
			test.needed(t, b, at)
			b.prune(t, day)
			if got := b.resources(t); !slices.Equal(got, test.want) {
				t.Errorf("kept %q, want %q", got, test.want)
			}
			if again := b.prune(t, day); again != (eventlog.Pruned{}) {
				t.Errorf("pruned %v the second time", again)
			}
			// Whoever was at a tick that is left reads on without a gap.
			for i, p := range at {
				batch, err := eventlog.NewReader(b.pool, 100).Next(t.Context(), p)
				want := []string{"a", "b", "c", "d", "e"}[i+1:]
				if kept := len(want) <= len(test.want); kept != (err == nil) || !kept && !errors.Is(err, eventlog.ErrPruned) {
					t.Errorf("from tick %d: %v", p.Tick, err)
				} else if kept && !slices.Equal(named(batch), want) {
					t.Errorf("from tick %d: read %q, want %q", p.Tick, named(batch), want)
				}
			}
			_, err := eventlog.NewReader(b.pool, 0).Start(t.Context())
			if whole := len(test.want) == 5; whole != (err == nil) || !whole && !errors.Is(err, eventlog.ErrPruned) {
				t.Errorf("start: %v", err)
			}
		})
	}
}

// An event is kept for as long as no tick that is left shows it, however old
// it is: its transaction was open when younger ones came and went.
func TestPruneKeepsLateEvents(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	late := b.begin(t)
	add(t, late, "late1", "late2", "late3", "late4")
	b.write(t, "a", "b")
	b.tick(t)
	at := b.newest(t)
	b.age(t, 48*time.Hour)
	b.prune(t, time.Hour)
	commit(t, late)
	b.prune(t, time.Hour)
	resources, _ := read(t, b.pool, at, 2)
	wantResources(t, resources)
	b.tick(t)
	resources, end := read(t, b.pool, at, 2)
	wantResources(t, resources, "late1", "late2", "late3", "late4")
	b.follow(t, "x", end)
	b.age(t, 48*time.Hour)
	b.prune(t, time.Hour)
	if left := b.resources(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A worker's role prunes, which may not delete events, and one that follows reports.
func TestPruneAndReportAsOrdinaryRoles(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	b := newLog(t, db.Pool(t))
	b.write(t, "a")
	b.tick(t)
	worker, reporter := db.RoleURL(t), db.RoleURL(t)
	b.exec(t, fmt.Sprintf(`SELECT casq.grant_to('%s', 'worker'), casq.grant_to('%s', 'follower')`, testdb.RoleName(t, worker), testdb.RoleName(t, reporter)))
	if _, err := eventlog.ReportFollower(t.Context(), testdb.Pool(t, reporter), "second", b.newest(t), eventlog.Left{}); err != nil {
		t.Error(err)
	}
	b.age(t, time.Hour)
	pruned, err := eventlog.Prune(t.Context(), testdb.Pool(t, worker), time.Minute, eventlog.Pruning{})
	if err != nil || pruned.Events != 1 {
		t.Errorf("pruned %v, %v", pruned, err)
	}
}

// A reader on a standby, which takes its time over each page of a step, while
// the primary prunes what it reads: it gets the step's pages without a gap, or
// is told that they are gone, and never part of a page.
func TestReaderNeverSeesAHalfPrunedStep(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := setupPromotion(t)
	const steps, perStep = 30, 20
	resources := make([]string, perStep)
	for i := range resources {
		resources[i] = fmt.Sprint("resource", i)
	}
	var at []eventlog.Position
	for range steps {
		at = append(at, p.newestOrStart(t))
		p.write(t, resources...)
		p.tick(t)
	}
	p.age(t, 48*time.Hour)
	if err := p.cluster.Standbys[0].WaitReplayed(t.Context(), p.cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if _, err := eventlog.ReportFollower(t.Context(), p.pool, "pruner", at[0], eventlog.Left{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		pruning := eventlog.Pruning{Ticks: 1, Events: 7}
		for i := range at { // one step after the other
			if _, err := p.pool.Exec(ctx, "UPDATE casq.followers SET tick = $1, nonce = $2", at[i].Tick, at[i].Nonce); err != nil {
				ended <- err
				return
			}
			if _, err := eventlog.Prune(ctx, p.pool, time.Hour, pruning); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	whole, gone := 0, 0
	for pruning := true; pruning; {
		pruning = ctx.Err() == nil
		for _, from := range at {
			got, err := p.pages(t, from)
			switch {
			case errors.Is(err, eventlog.ErrPruned), errors.Is(err, eventlog.ErrLate):
				gone++
			case err != nil:
				t.Fatal(err)
			default:
				whole++
				want := perStep * int(p.lastTick(t)-from.Tick)
				if len(got) != want {
					t.Fatalf("from %s: %d events, want %d", from, len(got), want)
				}
			}
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if whole == 0 || gone == 0 {
		t.Errorf("%d steps were read as a whole, %d were gone", whole, gone)
	}
}

func (b *logBundle) newestOrStart(t testing.TB) eventlog.Position {
	t.Helper()
	if _, err := eventlog.NewReader(b.pool, 0).Start(t.Context()); errors.Is(err, eventlog.ErrNoTicks) {
		b.tick(t)
	}
	return b.newest(t)
}

func (p *promotion) lastTick(t testing.TB) (id int64) {
	t.Helper()
	p.second.scan(t, "SELECT max(id) FROM casq.ticks", &id)
	return id
}

// pages reads on the standby, page by page, until nothing is left.
func (p *promotion) pages(t testing.TB, from eventlog.Position) (resources []string, err error) {
	t.Helper()
	reader := eventlog.NewReader(p.second.pool, 13)
	for {
		batch, err := reader.Next(t.Context(), from)
		if err != nil {
			return nil, err
		}
		resources = append(resources, named(batch)...)
		if batch.Next == from {
			return resources, nil
		}
		from = batch.Next
	}
}

// Whoever may report can make up names, but cannot fill the table with them.
func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	b := setupTrack(t)
	report := func(name string) error {
		return run(t.Context(), b.pool, `SELECT casq.report_follower('`+name+`', 1, gen_random_uuid())`)
	}
	b.exec(t, `SELECT casq.report_follower('made up ' || n, 1, gen_random_uuid()) FROM generate_series(1, 1000) AS n`)
	wantRefused(t, report("one more"), "1000 followers have reported", "casq.forget_follower")
	if err := report("made up 7"); err != nil {
		t.Errorf("one that was there: %v", err)
	}
	b.exec(t, `SELECT casq.forget_follower('made up 8')`)
	if err := report("one more"); err != nil {
		t.Error(err)
	}
}
