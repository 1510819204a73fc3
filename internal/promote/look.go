package promote

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed promote.sql
var promoteText string

var promoteSQL = queries.Parse[struct {
	Source, Beyond, Views, Open, Rows, InPlace, DeadLetters, Partial, Workers, Page, Same, Repositories, Lock, Name string
}]("promote", promoteText)

// mostNamed is how many resources of a kind are named for each cause.
const mostNamed = 100_000

// The causes for which a resource is not in place, or not as it should be.
const (
	NotApplied   = "not applied"   // its events are in the log, beyond what this site has read
	Pending      = "pending"       // it is still to be copied
	Failed       = "failed"        // its copy has failed
	DeadLettered = "dead-lettered" // its event could not be applied
	Damaged      = "damaged"       // its bytes are not those that were copied
	Absent       = "absent"        // the source did not have it, which its kind allows
	Removing     = "removing"      // it is deleted, and still in place
	Deleted      = "deleted"       // its deletion is in the log, beyond what this site has read
)

// lossOf are the causes by which something is lost.
var lossOf = map[string]bool{NotApplied: true, Pending: true, Failed: true, DeadLettered: true, Damaged: true}

// Found is a number of resources with one cause, and the first of them by key.
type Found struct {
	Cause string   `json:"cause"`
	Count int64    `json:"count"`
	Keys  []string `json:"keys"`
}

// Kind is what was found of a kind.
type Kind struct {
	Kind    string  `json:"kind"`
	InPlace int64   `json:"in_place"`
	Found   []Found `json:"found"`
}

// Lost are the resources of which the newest state would be lost, each once.
func (k Kind) Lost() []string {
	var keys []string
	deleted := make(map[string]bool)
	for _, f := range k.Found {
		if lossOf[f.Cause] {
			keys = append(keys, f.Keys...)
		}
		if f.Cause == Deleted {
			for _, key := range f.Keys {
				deleted[key] = true
			}
		}
	}
	slices.Sort(keys)
	return slices.DeleteFunc(slices.Compact(keys), func(key string) bool { return deleted[key] })
}

// View is a tracked view of the source that is behind the tables that it is made of.
type View struct {
	Kind    string `json:"kind"`
	Changes int64  `json:"changes"` // noted, and not evaluated
	Why     string `json:"why"`
}

// Report is how a site stands.
type Report struct {
	// Events is how many events of the log are not applied.
	Events int64 `json:"events_not_applied"`
	// OtherLog says that the position is none of the source's log: everything is compared.
	OtherLog bool `json:"other_log"`
	// Standby says that the source's database is not promoted: others may come.
	Standby bool   `json:"source_is_standby"`
	Kinds   []Kind `json:"kinds"`
	// Partial are kinds of which this site has a part, by its own choice.
	Partial []string `json:"kinds_in_part"`
	// Views are tracked views of the source whose newest rows are not in its log: a worker at
	// the source's database evaluates them.
	Views []View `json:"views_behind"`
	// Comparisons are those with the source that are not over.
	Comparisons int64 `json:"comparisons_open"`
	// Verified is how many resources were read, and found as they should be.
	Verified int64 `json:"verified"`
}

// Ready tells whether nothing would be lost.
func (r Report) Ready() bool {
	return r.Events == 0 && !r.OtherLog && len(r.Partial) == 0 && len(r.Views) == 0 && r.Comparisons == 0 &&
		!slices.ContainsFunc(r.Kinds, func(k Kind) bool { return len(k.Lost()) > 0 })
}

// add notes a cause of a kind.
func (r *Report) add(kind string, f Found) {
	i := slices.IndexFunc(r.Kinds, func(k Kind) bool { return k.Kind == kind })
	if i < 0 {
		i = len(r.Kinds)
		r.Kinds = append(r.Kinds, Kind{Kind: kind, Found: []Found{}})
	}
	r.Kinds[i].Found = append(r.Kinds[i].Found, f)
}

// beyond reads the source's log beyond home's position. It is read before home's rows are: what
// is not beyond the position is in the rows, since both move together.
func beyond(ctx context.Context, home, source *pgxpool.Pool, report *Report) error {
	at, started, err := cursor.Position(ctx, home, registry.Cursor)
	if err != nil {
		return err
	}
	var known bool
	if err := source.QueryRow(ctx, promoteSQL.Source, at.Tick, at.Nonce).Scan(&report.Standby, &known); err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	report.OtherLog = started && !known
	// Before the log is: what leaves the views for the log meanwhile is found there.
	rows, err := source.Query(ctx, promoteSQL.Views)
	if err != nil {
		return fmt.Errorf("read what tracked views lack: %w", err)
	}
	if report.Views, err = pgx.CollectRows(rows, pgx.RowToStructByPos[View]); err != nil {
		return fmt.Errorf("read what tracked views lack: %w", err)
	}
	rows, err = source.Query(ctx, promoteSQL.Beyond, at.Tick, at.Nonce, at.ToTick, at.ToNonce, at.Page, mostNamed)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	var kind string
	var deleted bool
	var events int64
	var f Found
	_, err = pgx.ForEachRow(rows, []any{&kind, &deleted, &events, &f.Count, &f.Keys}, func() error {
		report.Events += events
		f.Cause = NotApplied
		if deleted {
			f.Cause = Deleted
		}
		report.add(kind, f)
		f.Keys = nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// look finds out how the site stands.
func look(ctx context.Context, home, source *pgxpool.Pool) (report Report, err error) {
	report.Kinds, report.Partial = []Kind{}, []string{}
	if err := beyond(ctx, home, source, &report); err != nil {
		return report, err
	}
	if err := rowsOf(ctx, home, &report); err != nil {
		return report, fmt.Errorf("read the registry: %w", err)
	}
	slices.SortFunc(report.Kinds, func(a, b Kind) int { return strings.Compare(a.Kind, b.Kind) })
	return report, nil
}

// causes are the statuses of the registry in other words.
var causes = map[string]string{"pending": Pending, "started": Pending, "failed": Failed, "absent": Absent, "removing": Removing}

func rowsOf(ctx context.Context, home *pgxpool.Pool, report *Report) error {
	kinds, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if !slices.ContainsFunc(report.Kinds, func(k Kind) bool { return k.Kind == name }) {
			report.Kinds = append(report.Kinds, Kind{Kind: name, Found: []Found{}})
		}
	}
	var kind, status string
	f := Found{}
	err = eachRow(ctx, home, promoteSQL.Rows, []any{mostNamed}, []any{&kind, &status, &f.Count, &f.Keys}, func() {
		f.Cause = causes[status]
		if f.Cause == "" {
			f.Cause = status
		}
		report.add(kind, f)
	})
	if err != nil {
		return err
	}
	err = eachRow(ctx, home, promoteSQL.DeadLetters, []any{mostNamed}, []any{&kind, &f.Count, &f.Keys}, func() {
		f.Cause = DeadLettered
		report.add(kind, f)
	})
	if err != nil {
		return err
	}
	var inPlace int64
	err = eachRow(ctx, home, promoteSQL.InPlace, nil, []any{&kind, &inPlace}, func() {
		for i := range report.Kinds {
			if report.Kinds[i].Kind == kind {
				report.Kinds[i].InPlace = inPlace
			}
		}
	})
	if err != nil {
		return err
	}
	if err := eachRow(ctx, home, promoteSQL.Partial, nil, []any{&kind}, func() { report.Partial = append(report.Partial, kind) }); err != nil {
		return err
	}
	var open int64
	return home.QueryRow(ctx, promoteSQL.Open).Scan(&open, &report.Comparisons)
}

// eachRow scans each row into the values, and calls f. Slices are new ones each time.
func eachRow(ctx context.Context, db *pgxpool.Pool, sql string, args, values []any, f func()) error {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, values, func() error {
		f()
		for _, v := range values {
			if keys, is := v.(*[]string); is {
				*keys = nil
			}
		}
		return nil
	})
	return err
}

// sameDatabase tells whether two pools lead to one database, or to servers of one cluster.
func sameDatabase(ctx context.Context, a, b *pgxpool.Pool) (bool, error) {
	var one, other string
	err := errors.Join(a.QueryRow(ctx, promoteSQL.Name).Scan(&one), b.QueryRow(ctx, promoteSQL.Name).Scan(&other))
	if err != nil {
		return false, fmt.Errorf("find out which databases these are: %w", err)
	}
	return one == other, nil
}
