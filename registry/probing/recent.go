package probing

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// What has changed lately is what changes next, mostly. So a resource that has had a new
// version within the last ten rounds of its kind is compared four times a round: beside the
// page that is due, and before it. A page has half as many of them again, at most.
const (
	latelyRounds = 10
	timesARound  = 4
	mostRecent   = 1000 // of a kind; the others have their turn in each round, as all have
)

// recent are resources of one kind that have changed lately, as far as this process has
// seen them in its pages, and when it compared them last. Another process has others, and
// one that dies takes its own along: what is not here is compared once a round.
type recent map[string]time.Time

// due are those beside a page whose turn it is, the longest waiting first.
func (r recent) due(pg *page, now time.Time, most int) []string {
	var keys []string
	for key, at := range r {
		beside := !slices.ContainsFunc(pg.rows, func(row row) bool { return row.Key == key })
		if beside && now.Sub(at) >= pg.kind.Probe/timesARound {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(r[a].Compare(r[b]), cmp.Compare(a, b)) })
	return keys[:min(most, len(keys))]
}

// learn notes a page's resources: those that have changed lately stay, or are taken up while
// there is room.
func (r recent) learn(pg *page, now time.Time) {
	for _, row := range pg.rows {
		_, known := r[row.Key]
		switch {
		case row.outcome == "": // it was not compared
		case !row.lately && row.outcome != Changed:
			delete(r, row.Key)
		case known || len(r) < mostRecent:
			r[row.Key] = now
		}
	}
}

// readRecent puts those that are due before the page's own resources.
func (pg *page) readRecent(ctx context.Context, tx pgx.Tx, r recent, now time.Time, most int) error {
	keys := r.due(pg, now, most)
	if len(keys) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, probeSQL.These, pg.kind.Name, keys, latelyRounds*pg.kind.Probe)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(from pgx.CollectableRow) (found row, err error) {
		err = from.Scan(found.fields()...)
		return found, err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !slices.ContainsFunc(found, func(row row) bool { return row.Key == key }) {
			delete(r, key) // gone, or not at rest: it is learned of again by a page
		}
	}
	pg.rows, pg.early = append(found, pg.rows...), len(found)
	return nil
}
