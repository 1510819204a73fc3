package races

import (
	"testing"

	"casq/eventlog"
	"casq/internal/testing/faultproxy"

	"github.com/jackc/pgx/v5"
)

// TestR99LostAnswer: the commit of a batch inside a step that is read in pages
// succeeds, its answer is lost, and the holder does the batch again. Where the
// stored position has no page, or is not compared, the batch takes effect twice.
// It has to take effect once.
func TestR99LostAnswer(t *testing.T) {
	t.Parallel()
	want := []string{"a", "b", "c", "d", "e", "f", "g"}
	doubled := []string{"a", "b", "c", "d", "c", "d", "e", "f", "g"}
	for name, move := range map[string]string{
		// While a step is read its tick stays the same.
		"twin/position without page": "UPDATE naive_cursor SET tick = $3, page = $4 WHERE tick = $1 AND $2::bigint IS NOT NULL",
		"twin/no condition":          "UPDATE naive_cursor SET tick = $3, page = $4 WHERE $1::bigint + $2 IS NOT NULL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newR99(t, want)
			r.naive(t, move)
			wantResources(t, r.site.applied(t), doubled...)
		})
	}
	t.Run("twin/page and condition", func(t *testing.T) {
		t.Parallel()
		t.Run("wins", func(t *testing.T) {
			t.Parallel()
			r := newR99(t, want)
			r.naive(t, "UPDATE naive_cursor SET tick = $3, page = $4 WHERE tick = $1 AND page = $2")
			wantResources(t, r.site.applied(t), want...)
		})
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR99(t, want)
		cfg := r.site.config(t)
		cfg.Home, cfg.PageSize = r.network.Pool(t, r.site.url), 2
		batches := 0
		cfg.Hook = func(point string) {
			if point != "batch:applied" {
				return
			}
			batches++
			if batches == 2 {
				r.network.LoseAnswer("commit")
			}
		}
		follow(t, cfg)
		r.site.wantApplied(t, want...)
		<-r.network.Lost()
		r.site.write(t, "h")
		r.site.tick(t)
		r.site.wantApplied(t, append(want, "h")...)
	})
}

type r99 struct {
	site    *logSite
	network *faultproxy.Network
}

// newR99 is a log with one step.
func newR99(t *testing.T, resources []string) *r99 {
	t.Helper()
	r := &r99{newLogSite(t), faultproxy.New()}
	execute(t, r.site.pool, "CREATE TABLE naive_cursor AS SELECT 0::bigint AS tick, 0::bigint AS page")
	r.site.write(t, resources...)
	r.site.tick(t)
	return r
}

// naive follows the log in pages of two, with effects and position in one
// transaction, and repeats a batch until it is told that it is committed, or
// that the position is another one. The answer to the second commit is lost.
func (r *r99) naive(t *testing.T, move string) {
	t.Helper()
	pool := r.network.Pool(t, r.site.url)
	reader := eventlog.NewReader(r.site.pool, 2)
	p := r.site.start(t)
	for n := 1; ; n++ {
		batch, err := reader.Next(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if batch.Next == p {
			return
		}
		if n == 2 {
			r.network.LoseAnswer("commit")
		}
		for committed := false; !committed; {
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				moved, err := tx.Exec(t.Context(), move, p.Tick, p.Page, batch.Next.Tick, batch.Next.Page)
				if err != nil || moved.RowsAffected() == 0 {
					return err // somebody has: nothing to apply
				}
				return writeDown(t.Context(), tx, batch.Events)
			})
			committed = err == nil
		}
		p = batch.Next
	}
}
