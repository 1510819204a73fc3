package races

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/testing/testproc"

	"github.com/jackc/pgx/v5"
)

const (
	r88Events      = 1_000_000
	r88EventsShort = 200_000
	// r88Memory is what a holder may need, in bytes, whatever the size of the
	// transaction: 31 MB were measured, 63 MB with the race detector. All of
	// 200,000 events at once took 143 MB, and 359 MB.
	r88Memory = 100 << 20
)

// TestR88HugeTransaction: one commit has 1,000,000 events. While they are applied
// page by page, another transaction commits whose event has a lower id than all
// of them, and the holder is killed in the middle of a page. Whoever goes on
// with the step but aims at the newest tick, or goes on by id, has passed the
// place where the late event belongs; whoever reads the step at once needs as
// much memory as there are events. Each has to be applied once, with the memory
// of a page.
func TestR88HugeTransaction(t *testing.T) {
	t.Parallel()
	t.Run("twin/aims at the newest tick", func(t *testing.T) {
		t.Parallel()
		r := newR88(t, 20_000)
		p := r.middle(t)
		r.late(t)
		p.ToTick, p.ToNonce = r.newest(t)
		resources, _ := readOn(t, r.site.pool, p, 1000)
		r.wantOtherHalf(t, resources)
	})
	t.Run("twin/highest id", func(t *testing.T) {
		t.Parallel()
		r := newR88(t, 20_000)
		twin := &idPoller{db: r.site.pool, last: r.middle(t).Page}
		r.late(t)
		r.wantOtherHalf(t, twin.poll(t))
	})
	t.Run("twin/all at once", func(t *testing.T) {
		t.Parallel()
		r := newR88(t, r88EventsShort)
		child := testproc.Start(t, r88Child, r.site.url, strconv.Itoa(r.events+1), "1", strconv.Itoa(1<<40))
		child.AwaitFrozen("frozen")
		peak := child.PeakMemory()
		t.Logf("%d events with at most %d MB", r.events, peak>>20)
		if peak < r88Memory {
			t.Errorf("the twin needed %d bytes; it should have needed more than %d", peak, r88Memory)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		size := r88Events
		if testing.Short() {
			size = r88EventsShort
		}
		newR88(t, size).play(t)
	})
}

type r88 struct {
	site   *logSite
	events int
	slow   pgx.Tx
}

// play kills a holder in the middle, and lets another go on.
func (r *r88) play(t *testing.T) {
	t.Helper()
	began := time.Now()
	first := testproc.Start(t, r88Child, r.site.url, "0", strconv.Itoa(r.events/eventlog.DefaultPageSize/2), "0")
	first.AwaitFrozen("frozen")
	r.late(t)
	peaks := []int64{first.PeakMemory()}
	first.Kill()
	second := testproc.Start(t, r88Child, r.site.url, "0", "0", "0")
	newest, _ := r.newest(t)
	r.site.until(t, fmt.Sprintf("SELECT tick >= %d FROM casq.cursors", newest)) // "applied" is large, and has no index
	peaks = append(peaks, second.PeakMemory())
	t.Logf("%d events in %v with at most %d and %d MB", r.events, time.Since(began).Round(time.Millisecond), peaks[0]>>20, peaks[1]>>20)
	for _, peak := range peaks {
		if peak > r88Memory {
			t.Errorf("a holder needed %d bytes, more than %d", peak, r88Memory)
		}
	}
	want := fmt.Sprintf("%d effects of %d events, %d resources", r.events+2, r.events+2, 3)
	got := lines(t, r.site.pool, `SELECT format('%s effects of %s events, %s resources', count(*), count(DISTINCT id), count(DISTINCT resource)) FROM applied`)
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// newR88 is a log with one huge transaction, and one that is open.
func newR88(t *testing.T, events int) *r88 {
	t.Helper()
	r := &r88{site: newLogSite(t), events: events}
	r.site.tick(t)
	r.slow = r.site.begin(t, "late")
	execute(t, r.site.pool, fmt.Sprintf(`INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', 'huge', 'updated', jsonb_build_object('sha256', repeat('a', 64)) FROM generate_series(1, %d)`, events))
	r.site.tick(t)
	return r
}

// middle reads half of the huge transaction.
func (r *r88) middle(t *testing.T) eventlog.Position {
	t.Helper()
	reader := eventlog.NewReader(r.site.pool, r.events/2)
	batch, err := reader.Next(t.Context(), r.site.start(t))
	if err != nil {
		t.Fatal(err)
	}
	return batch.Next
}

// late commits the event with the lowest id, and one after it.
func (r *r88) late(t *testing.T) {
	t.Helper()
	r.site.commit(t, r.slow)
	r.site.tick(t)
	r.site.write(t, "later")
	r.site.tick(t)
}

func (r *r88) newest(t *testing.T) (tick int64, nonce [16]byte) {
	t.Helper()
	if err := r.site.pool.QueryRow(t.Context(), "SELECT id, nonce FROM casq.ticks ORDER BY id DESC LIMIT 1").Scan(&tick, &nonce); err != nil {
		t.Fatal(err)
	}
	return tick, nonce
}

func (r *r88) wantOtherHalf(t *testing.T, resources []string) {
	t.Helper()
	if len(resources) != r.events/2+1 || resources[len(resources)-1] != "later" {
		t.Errorf("%d events; the twin should have had the other half and the later event, and never the late one", len(resources))
	}
}

const r88Child = "r88"

// r88Holder is a process that follows the log in pages of so many events and bytes
// (0: ours), and freezes in the middle of the batch with that number.
func r88Holder(args []string) error {
	ctx := context.Background()
	pageSize, err1 := strconv.Atoi(args[1])
	freezeIn, err2 := strconv.Atoi(args[2])
	bytes, err3 := strconv.ParseInt(args[3], 10, 64)
	pool, err := casqdb.Open(ctx, args[0], casqdb.Options{SearchPath: "public", IdleInTransaction: time.Minute})
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return err
	}
	defer pool.Close()
	batches := 0
	return cursor.New(cursor.Config{
		Name: "race", Source: pool, Home: pool, Consumer: applier{}, Logger: slog.New(slog.DiscardHandler),
		PageSize: pageSize, PageBytes: bytes, Wait: 20 * time.Millisecond,
		Hook: func(point string) {
			if point != "batch:applied" {
				return
			}
			batches++
			testproc.Say("a batch")
			if batches == freezeIn {
				testproc.Freeze("frozen")
			}
		},
	}).Run(ctx)
}
