package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"casq/eventlog"
	"casq/internal/portion"
	"casq/registry"
)

// fewRemovals is how many removals are never held back.
const fewRemovals = 100

// TooMany is the removal limit. It tells whether a comparison that would remove so many
// of the live rows of a kind has probably met the wrong source, or an empty table: more
// than a hundred, and more than half. A delete that is logged is no comparison, and is
// always carried out.
func TooMany(gone, live int64) bool { return gone > fewRemovals && 2*gone > live }

// Overlap is how much of a kind home and a source have in common.
type Overlap struct {
	Kind     string `json:"kind"`
	Unlisted bool   `json:"unlisted"` // the source has no table of it: nothing is removed
	Here     int64  `json:"here"`     // live rows at home
	There    int64  `json:"there"`    // resources in the source
	Common   int64  `json:"common"`

	// Error says why the kind could not be compared; nothing is removed then.
	Error string `json:"error,omitempty"`
}

// Gone is how many rows a comparison would remove.
func (o Overlap) Gone() int64 {
	if o.Unlisted || o.Error != "" {
		return 0
	}
	return o.Here - o.Common
}

// Overlaps compares all kinds of home with a source, page by page, and changes
// nothing. A kind that cannot be compared has an Error. Errors: [eventlog.ErrNoTicks];
// anything else is the databases'.
func Overlaps(ctx context.Context, home, source eventlog.DB) ([]Overlap, error) {
	kinds, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return nil, err
	}
	all := make([]Overlap, 0, len(kinds))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		o, err := liveAndGone(ctx, home, source, kind)
		if err == nil {
			err = o.count(ctx, source)
		}
		if isOfKind(err) {
			o.Error, err = explain(err), nil
		}
		if err != nil {
			return nil, fmt.Errorf("compare kind %s: %w", kind, err)
		}
		all = append(all, o)
	}
	return all, nil
}

// count counts what the source has.
func (o *Overlap) count(ctx context.Context, source eventlog.DB) error {
	for after := (*string)(nil); ; {
		p, err := resourcesPage(ctx, source, registry.Selection{Kind: o.Kind}, after, wholePage)
		if err != nil || p.last == nil {
			return err
		}
		o.There, after = o.There+int64(len(p.keys)), p.last
	}
}

const livePage = 5000

var wholePage = portion.Size{Rows: livePage, Bytes: pageBytes}

// liveAndGone counts the live rows of a kind, and those whose resource the source has,
// whatever is selected of the kind: what leaves by a selection tells nothing about the
// source.
func liveAndGone(ctx context.Context, home, source eventlog.DB, kind string) (Overlap, error) {
	o := Overlap{Kind: kind}
	for after := ""; ; {
		var keys []string
		if err := home.QueryRow(ctx, rowsSQL.LivePage, kind, after, livePage).Scan(&keys); err != nil {
			return o, fmt.Errorf("read live rows: %w", err)
		}
		missing, err := resourcesMissing(ctx, source, registry.Selection{Kind: kind}, keys)
		if err != nil {
			return o, err
		}
		o.Unlisted = !missing.listed
		o.Here += int64(len(keys))
		if missing.listed {
			o.Common += int64(len(keys) - len(missing.keys))
		}
		if len(keys) < livePage {
			return o, nil
		}
		after = keys[len(keys)-1]
	}
}

// holdsBack tells whether the run may not remove rows of the kind. They are all counted
// when the first is to be removed, which in an ordinary run does not happen: deletes
// come by the log.
func (run *takenRun) holdsBack(ctx context.Context, kind string) (bool, error) {
	if held, known := run.held[kind]; known {
		return held, nil
	}
	o, err := liveAndGone(ctx, run.cfg.Home, run.cfg.Source, kind)
	if err != nil {
		return false, fmt.Errorf("count what would be removed: %w", err)
	}
	held := TooMany(o.Gone(), o.Here) && o.Gone() > run.allowRemove
	if held {
		run.log.WarnContext(ctx, "most rows of a kind would be removed, and no row of it is; enqueue reconcile --remove allows it",
			"run", run.id, "kind", kind, "rows", o.Here, "missing_at_source", o.Gone())
	}
	run.held[kind] = held
	return held, nil
}
