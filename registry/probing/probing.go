// Package probing looks for changes that no row tells of: what is in place is compared with
// the source at the kind's pace (casq.kinds.probe), and a difference is a new version.
//
// Each kind has one position, a key, in casq.probes. A process takes a page, and moves the
// position on in the same transaction, before it compares anything: so no two processes
// compare the same, none waits for another, and memory has a page. Pages are taken one by
// one over the kind's time. One whose process dies is compared in the next round; until
// then its rows say when they were compared before.
//
// All that is written names the version that was compared. What an event, a removal, a move
// of the kind or a resync has done meanwhile raises the version, and nothing is written. A
// row tells the time before its resource was read at the source: what comes later was not
// compared. A source that is away, or does not have the resource, shows no difference.
package probing

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed probing.sql
var probeText string

// probeSQL has the statements of probe.sql.
var probeSQL = queries.Parse[struct{ Begin, Take, Page, These, Move, Told, Compared, Changed string }]("registry/probing", probeText)

var (
	// ErrMissing is a [Target]'s error for what the source does not have.
	ErrMissing = errors.New("the source does not have it")
	// ErrAway is a [Target]'s error when the source itself cannot be read: the rest of the
	// page is not tried.
	ErrAway = errors.New("the source cannot be read")
)

// Target compares what is in place with the source.
type Target interface {
	// Probe tells whether the source has something else than the copy.
	Probe(ctx context.Context, kind eventlog.Kind, copied Copy) (differs bool, err error)
}

// Copy is what the registry has of a copy.
type Copy struct {
	Key      string
	Payload  json.RawMessage
	Checksum string
	State    string // see [registry.Result]
}

// Listed is a [Target] whose source tells of many resources at once.
type Listed interface {
	Target
	// ProbeAll calls told for copies, which are in the order of their keys: i is the place
	// of one among them. An error is one of the source, as is [ErrAway].
	ProbeAll(ctx context.Context, kind eventlog.Kind, copies []Copy, told func(i int, differs bool, err error)) error
}

// What has come of a resource.
const (
	Same    = "same"
	Changed = "changed"
	Failed  = "failed"
)

// Config of a [Prober].
type Config struct {
	Home    *pgxpool.Pool
	Jobs    registry.Jobs
	Targets map[string]Target // by transfer
	Logger  *slog.Logger
	// PageSize is how many resources a page has at most. Defaults to 200, or 1,000 of what
	// is listed.
	PageSize int
	// AtOnce is how many resources are compared at once. Defaults to 4.
	AtOnce int
	// PollEvery is the time between two looks for a page that is due. Defaults to 1 s.
	PollEvery time.Duration
	// Patience is how long one resource may take. Defaults to 1 minute.
	Patience time.Duration
	// Counted is called with what has come of resources. It must be quick. May be nil.
	Counted func(kind, outcome string, n int)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Prober compares at the kinds' pace. Any number of them may run.
type Prober struct {
	cfg       Config
	transfers []string
	sizes     []int             // of pages, by the same index
	recent    map[string]recent // by kind
	now       func() time.Time
}

// New returns one that does nothing until [Prober.Run].
func New(cfg Config) *Prober {
	cfg.AtOnce = cmp.Or(cfg.AtOnce, 4)
	cfg.PollEvery, cfg.Patience = cmp.Or(cfg.PollEvery, time.Second), cmp.Or(cfg.Patience, time.Minute)
	if cfg.Counted == nil {
		cfg.Counted = func(string, string, int) {}
	}
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	p := &Prober{cfg: cfg, transfers: slices.Sorted(maps.Keys(cfg.Targets)), recent: map[string]recent{}, now: time.Now}
	for _, name := range p.transfers {
		most := 200
		if _, lists := cfg.Targets[name].(Listed); lists {
			most = 1000
		}
		p.sizes = append(p.sizes, cmp.Or(cfg.PageSize, most))
	}
	return p
}

// Run compares pages as they are due, until ctx is done.
func (p *Prober) Run(ctx context.Context) {
	for ctx.Err() == nil {
		more, err := p.Round(ctx)
		if err != nil && ctx.Err() == nil {
			p.cfg.Logger.WarnContext(ctx, "cannot probe, trying again", "err", err)
		}
		if !more || err != nil {
			_ = pause.For(ctx, p.cfg.PollEvery)
		}
	}
}

// Round compares the page that is due first, if one is. It is not for two at once.
func (p *Prober) Round(ctx context.Context) (more bool, err error) {
	pg, err := p.take(ctx)
	if pg == nil || err != nil {
		return false, err
	}
	p.cfg.Hook("probe:taken")
	p.compare(ctx, pg)
	p.recent[pg.kind.Name].learn(pg, p.now())
	p.cfg.Hook("probe:read")
	return true, p.write(ctx, pg)
}

// page is some resources of a kind, in the order of their keys.
type page struct {
	kind  eventlog.Kind
	began time.Time // by home's clock, before the source is read
	rows  []row
	early int    // how many of rows are of those that have changed lately, and come first
	last  string // where to go on; "": with the first
	away  error  // why the source could not be read
}

// row is a resource that is to be compared, and what came of it.
type row struct {
	Copy
	version int64
	absent  bool
	lately  bool   // its version is new
	outcome string // "" when it was not compared
	err     error
}

// fields are where a statement's row goes.
func (r *row) fields() []any {
	return []any{&r.Key, &r.version, &r.Payload, &r.Checksum, &r.State, &r.absent, &r.lately}
}

// take takes a page that is due, and moves on; nil: none is.
func (p *Prober) take(ctx context.Context) (pg *page, err error) {
	err = pgx.BeginTxFunc(ctx, p.cfg.Home, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, probeSQL.Begin, p.transfers); err != nil {
			return err
		}
		next, position, size, total := &page{}, "", 0, int64(0)
		err := tx.QueryRow(ctx, probeSQL.Take, p.transfers, p.sizes).Scan(append(next.kind.Fields(), &position, &next.began, &size, &total)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := next.read(ctx, tx, position, size); err != nil {
			return err
		}
		if p.recent[next.kind.Name] == nil {
			p.recent[next.kind.Name] = recent{}
		}
		if err := next.readRecent(ctx, tx, p.recent[next.kind.Name], p.now(), (size+1)/2); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, probeSQL.Move, next.kind.Name, next.last, size, total); err != nil {
			return err
		}
		pg = next
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take a page to probe: %w", err)
	}
	return pg, nil
}

// read reads the page beyond a position. One row more tells whether there is a next page.
func (pg *page) read(ctx context.Context, tx pgx.Tx, position string, size int) error {
	rows, err := tx.Query(ctx, probeSQL.Page, pg.kind.Name, position, size+1, latelyRounds*pg.kind.Probe)
	if err != nil {
		return err
	}
	n := 0
	var r row
	_, err = pgx.ForEachRow(rows, r.fields(), func() error {
		n++
		switch {
		case n > size:
			return nil
		case r.version > 0:
			pg.rows = append(pg.rows, r)
		}
		pg.last, r.Payload = r.Key, nil
		return nil
	})
	if n <= size {
		pg.last = ""
	}
	return err
}

// compare compares the page's resources, some at once.
func (p *Prober) compare(ctx context.Context, pg *page) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	next := make(chan *row)
	one := pg.rows
	target, lists := p.cfg.Targets[pg.kind.Transfer].(Listed)
	if lists {
		one = pg.rows[:pg.early]
	}
	for range min(p.cfg.AtOnce, len(one)) {
		group.Go(func() {
			for r := range next {
				if ctx.Err() != nil {
					continue
				}
				p.look(ctx, pg.kind, r)
				if errors.Is(r.err, ErrAway) {
					cancel(r.err)
				}
			}
		})
	}
	for i := range one {
		if ctx.Err() != nil {
			break
		}
		next <- &one[i]
	}
	close(next)
	group.Wait()
	if lists && ctx.Err() == nil {
		if err := p.list(ctx, target, pg.kind, pg.rows[pg.early:]); err != nil {
			cancel(err)
		}
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrAway) {
		pg.away = cause
	}
}

// look compares one resource.
func (p *Prober) look(ctx context.Context, kind eventlog.Kind, r *row) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	differs, err := p.cfg.Targets[kind.Transfer].Probe(ctx, kind, r.Copy)
	r.judge(kind, differs, err)
}

// list compares all of a page at once, and returns why the source cannot be read.
func (p *Prober) list(ctx context.Context, target Listed, kind eventlog.Kind, rows []row) error {
	ctx, cancel := context.WithTimeout(ctx, listPatience*p.cfg.Patience)
	defer cancel()
	copies := make([]Copy, len(rows))
	for i := range rows {
		copies[i] = rows[i].Copy
	}
	err := target.ProbeAll(ctx, kind, copies, func(i int, differs bool, err error) { rows[i].judge(kind, differs, err) })
	if err != nil && !errors.Is(err, ErrAway) {
		err = fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// listPatience is how much longer a page may take than one resource.
const listPatience = 5

// judge decides by what the target has said.
func (r *row) judge(kind eventlog.Kind, differs bool, err error) {
	switch {
	case errors.Is(err, ErrMissing) && r.absent:
		r.outcome = Same
	case errors.Is(err, ErrMissing) && kind.Missing == eventlog.MissingAbsent:
		// The run that this asks for says what became of it.
		r.outcome = Changed
	case err != nil:
		r.outcome, r.err = Failed, err
	case differs || r.absent:
		r.outcome = Changed
	default:
		r.outcome = Same
	}
}

// write writes what has come of the page. When the source was away nothing is said of it.
func (p *Prober) write(ctx context.Context, pg *page) error {
	var keys []string
	var versions []int64
	counts := map[string]int{}
	first := pg.away
	for _, r := range pg.rows {
		switch {
		case r.outcome == Same:
			keys, versions = append(keys, r.Key), append(versions, r.version)
		case r.outcome == Changed && pg.away == nil:
			if err := p.changed(ctx, pg.kind.Name, &r); err != nil {
				return err
			}
		case r.outcome == Failed:
			first = cmp.Or(first, fmt.Errorf("%q: %w", r.Key, r.err))
		}
		counts[r.outcome]++
	}
	delete(counts, "")
	for outcome, n := range counts {
		p.cfg.Counted(pg.kind.Name, outcome, n)
	}
	var told *string
	if first != nil && ctx.Err() == nil {
		p.cfg.Logger.WarnContext(ctx, "cannot compare with the source", "kind", pg.kind.Name, "resources", counts[Failed], "err", first)
		told = new(database.Text(first.Error(), 1000))
	}
	if _, err := p.cfg.Home.Exec(ctx, probeSQL.Told, pg.kind.Name, told); err != nil {
		return fmt.Errorf("keep what could not be compared: %w", err)
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := p.cfg.Home.Exec(ctx, probeSQL.Compared, pg.kind.Name, keys, versions, pg.began); err != nil {
		return fmt.Errorf("note what was compared: %w", err)
	}
	return nil
}

// changed asks for a new version of what has changed, unless something else has done so.
func (p *Prober) changed(ctx context.Context, kind string, r *row) error {
	var version int64
	err := pgx.BeginFunc(ctx, p.cfg.Home, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, probeSQL.Changed, kind, r.Key, r.version).Scan(&version)
		if err != nil {
			return err
		}
		token := registry.Token{Kind: kind, ResourceID: r.Key, Version: version}
		return p.cfg.Jobs.Insert(ctx, tx, []registry.Job{{Token: token, Urgency: registry.Compared}}, false)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("ask for %s %q, which has changed: %w", kind, r.Key, err)
	}
	p.cfg.Logger.InfoContext(ctx, "changed without an event, copying again", "kind", kind, "resource_id", r.Key, "version", r.version, "new_version", version)
	return nil
}
