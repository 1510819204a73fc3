package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"casq/replica/internal/bound"

	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is a primary and its standbys. Its methods may be used by many goroutines.
type DB struct {
	options    Options
	statements statements
	primary    *primary
	servers    servers
	counters   counters
	refused    refusals
	store      *storekeeper // nil without Options.Store
	auditor    *auditor     // nil without Options.Audit
	atOnce     *bound.Bound // of what is there as a rule

	background context.Context
	cancel     context.CancelFunc
	group      sync.WaitGroup

	// hosts is replaced, never changed, so that a read chooses without a lock.
	hosts atomic.Pointer[[]*host]
	turn  atomic.Uint32
	mu    sync.Mutex // of changes of hosts
	byURL map[string]*host
}

// New returns a DB that writes to primary, which stays the caller's to close, and
// reads from the standbys of options too. The database must have been set up
// ([Setup]). A standby that does not answer, or cannot be used, is no error: see
// [DB.Hosts] and [DB.Check]. [DB.Close] ends it.
func New(ctx context.Context, primaryPool *pgxpool.Pool, options Options) (*DB, error) {
	if primaryPool == nil {
		return nil, errors.New("replica.New: the primary's pool is nil")
	}
	options, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("replica.New: %w", err)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	db := &DB{
		options: options, statements: newStatements(options.Schema, options.InBand),
		background: background, cancel: cancel, byURL: make(map[string]*host), atOnce: bound.New(oncePatience),
	}
	db.primary = newPrimary(background, primaryPool, db.statements, options)
	db.hosts.Store(&[]*host{})
	if options.Store != nil {
		db.store = newStorekeeper(db, options.Store)
		db.group.Go(func() { db.store.run(background) })
	}
	if options.Audit > 0 {
		db.auditor = newAuditor(db, options.Store)
		db.group.Go(func() { db.auditor.run(background) })
	}
	if err := db.start(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("replica.New: %w", err)
	}
	return db, nil
}

func (db *DB) start(ctx context.Context) error {
	if _, err := db.primary.present(ctx); err != nil {
		// A primary that is away for a moment comes back; what is wrong with this
		// database does not mend itself.
		if _, answered := asPgError(err); answered || ctx.Err() != nil {
			return err
		}
		db.options.Logger.WarnContext(ctx, "primary does not answer", "err", err)
	}
	db.group.Go(func() { db.sample(db.background) })
	if db.options.Standbys == nil {
		return nil
	}
	again, err := db.discover(ctx)
	if err != nil {
		if ctx.Err() != nil || again == 0 {
			return err
		}
		db.options.Logger.WarnContext(ctx, "standbys are not known yet", "err", err)
	}
	if again > 0 {
		db.group.Go(func() { db.rediscover(db.background, again) })
	}
	db.awaitProbes(ctx)
	return nil
}

// firstProbes is how long New waits for the standbys' first answers.
const firstProbes = time.Second

// awaitProbes waits until each standby was probed once, so that also the first reads
// may go there. One that does not answer does not hold up the start.
func (db *DB) awaitProbes(ctx context.Context) {
	timer := time.NewTimer(firstProbes)
	defer timer.Stop()
	for _, h := range *db.hosts.Load() {
		select {
		case <-h.probed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// sample keeps the primary's position, for the lag of standbys, and finds what a
// promotion has changed.
func (db *DB) sample(ctx context.Context) {
	ticker := time.NewTicker(db.options.ProbeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if len(*db.hosts.Load()) == 0 {
			continue
		}
		if _, err := db.primary.present(ctx); err != nil && ctx.Err() == nil {
			db.options.Logger.DebugContext(ctx, "primary does not answer", "err", err)
		}
	}
}

// Close ends the probes and closes the standbys' pools, when their reads have
// ended. The primary's pool is left open.
func (db *DB) Close() {
	db.cancel()
	db.mu.Lock()
	hosts := *db.hosts.Swap(&[]*host{})
	clear(db.byURL)
	db.mu.Unlock()
	for _, h := range hosts {
		db.group.Go(h.close)
	}
	db.group.Wait()
	db.primary.positions.Wait()
	db.primary.listings.Wait()
}

// Present returns the primary's position, asked after the call began; calls at the
// same time share a question. It is at or beyond all that was committed before.
func (db *DB) Present(ctx context.Context) (Position, error) { return db.primary.present(ctx) }

// HostState is what is known of a standby.
type HostState struct {
	// Name is the address and port.
	Name string
	// Usable says whether reads may go there; Why says why not.
	Usable bool
	Why    string
	// Position is the newest that the standby is known to have replayed.
	Position Position
	// Lag is how far that lies behind the newest position known of the primary, in bytes;
	// -1 is unknown.
	Lag int64
	// Served counts the reads, Waiting those that wait for this standby now.
	Served  int64
	Waiting int
}

// Hosts returns what is known of the standbys.
func (db *DB) Hosts() []HostState {
	states := make([]HostState, 0, len(*db.hosts.Load()))
	for _, h := range *db.hosts.Load() {
		state := HostState{Name: h.name, Lag: -1, Served: h.served.Load(), Waiting: h.waiting(), Why: h.state.Load().why}
		if at, ok := h.at(); ok {
			state.Usable, state.Position = true, at
			if lag, known := behind(at, db.primary.newest.Load()); known {
				state.Lag = lag
			}
		}
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b HostState) int { return strings.Compare(a.Name, b.Name) })
	return states
}

// Check probes the primary and every standby, and returns what is wrong with them:
// for a program's start, or a health page.
func (db *DB) Check(ctx context.Context) error {
	_, err := db.primary.present(ctx)
	errs := []error{err}
	for _, h := range *db.hosts.Load() {
		found, at, err := h.ask(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("standby %s does not answer: %w", h.name, err))
		} else if why := db.misfit(ctx, found, at); why != "" {
			errs = append(errs, fmt.Errorf("standby %s %s", h.name, why))
		}
	}
	return errors.Join(errs...)
}
