package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/worker"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Options say how far to go.
type Options struct {
	DryRun     bool          // look, and change nothing
	AcceptLoss bool          // what would be lost may be
	Wait       time.Duration // how long to apply and copy, at most
	Verify     Verification
	Since      time.Duration // see [VerifyChanged]
}

// Verification is how much of what is in place is read.
type Verification string

// How much that is.
const (
	VerifyNone    Verification = "none"
	VerifyChanged Verification = "changed" // what was asked for since Since
	VerifyAll     Verification = "all"
)

var (
	// ErrLoss says that something would be lost, which was not accepted. Nothing was changed.
	ErrLoss = errors.New("something would be lost")
	// ErrNotSecond says that this is no second site.
	ErrNotSecond = errors.New("this is not a second site")
	// ErrStandby says that the application's database is not promoted.
	ErrStandby = errors.New("the source is a standby: promote the application's database first, or what is written there after this is not here")
	// ErrBusy says that another promotion of this site is under way.
	ErrBusy = errors.New("another promotion of this site is under way")
	// ErrWorkers says that workers of this site are at work still.
	ErrWorkers = errors.New("workers of this site are at work")
)

// Result is what was done.
type Result struct {
	Report Report `json:"report"`
	// Promoted says that the targets were given up, now or before.
	Promoted bool `json:"promoted"`
	// Repositories is how many mirrors are working repositories now.
	Repositories int64 `json:"repositories"`
	// Unreleased are repositories that are not, and why not.
	Unreleased []string `json:"unreleased"`
	Kinds      []Layout `json:"layout"`
}

// promotion is one run.
type promotion struct {
	cfg          worker.Config
	opts         Options
	log          *slog.Logger
	home, source *pgxpool.Pool
	targets      targets
}

// Run promotes the site of a worker's configuration. With an error that wraps [ErrLoss] the
// result has the report; a result that is promoted stays so.
func Run(ctx context.Context, cfg worker.Config, opts Options) (result Result, err error) {
	if cfg.SourceURL == "" || cfg.SourceURL == cfg.HomeURL || (cfg.ArtifactTarget == "" && cfg.RepositoryTarget == "") {
		return result, fmt.Errorf("%w: it follows no other database's log, or has no target", ErrNotSecond)
	}
	p := &promotion{cfg: cfg, opts: opts, log: cfg.Logger}
	p.cfg.WithoutSources = true
	defer p.close()
	if err := p.open(ctx); err != nil {
		return result, err
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return result, err
	}
	defer unlock()
	if result.Promoted, err = p.before(ctx, &result.Report); err != nil {
		return result, err
	}
	if result.Promoted {
		if opts.DryRun {
			err = p.layout(ctx, &result)
			return result, err
		}
		err = p.finish(ctx, &result)
		return result, err
	}
	if err := p.prepare(ctx, &result); err != nil {
		return result, err
	}
	err = p.finish(ctx, &result)
	return result, err
}

// open connects to the databases, and opens the targets.
func (p *promotion) open(ctx context.Context) (err error) {
	for _, db := range []struct {
		pool *(*pgxpool.Pool)
		url  string
		what string
	}{{&p.home, p.cfg.HomeURL, "home"}, {&p.source, p.cfg.SourceURL, "the source"}} {
		if *db.pool, err = database.Open(ctx, db.url, database.Options{Application: "casq promote", MaxConns: 4}); err != nil {
			return fmt.Errorf("open %s: %w", db.what, err)
		}
		if err := migrations.Check(ctx, *db.pool); err != nil {
			return fmt.Errorf("check %s: %w", db.what, err)
		}
	}
	same, err := sameDatabase(ctx, p.home, p.source)
	switch {
	case err != nil:
		return err
	case same:
		return fmt.Errorf("%w: its own database is the one whose log it follows", ErrNotSecond)
	}
	p.targets, err = openTargets(ctx, p.cfg)
	return err
}

func (p *promotion) close() {
	for _, pool := range []*pgxpool.Pool{p.home, p.source} {
		if pool != nil {
			pool.Close()
		}
	}
	if err := p.targets.close(); err != nil {
		p.log.Warn("cannot close targets", "err", err)
	}
}

// lockWithin is how long the lock is asked for: the session of a promotion that was broken off
// has it until the server has noticed.
const lockWithin = 5 * time.Second

// lock makes this the only promotion of the site, for as long as its session lasts.
func (p *promotion) lock(ctx context.Context) (unlock func(), err error) {
	conn, err := p.home.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to home: %w", err)
	}
	end := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Hijack().Close(ctx)
	}
	for until := time.Now().Add(lockWithin); ; {
		var got bool
		err := conn.QueryRow(ctx, promoteSQL.Lock).Scan(&got)
		switch {
		case err == nil && got:
			return end, nil
		case err != nil:
			err = fmt.Errorf("lock the promotion: %w", err)
		case time.Now().After(until):
			err = ErrBusy
		default:
			p.point("promote:busy")
			err = pause.For(ctx, 50*time.Millisecond)
		}
		if err != nil {
			end()
			return nil, err
		}
	}
}

// prepare does all that comes before the targets are given up, and gives them up.
func (p *promotion) prepare(ctx context.Context, result *Result) (err error) {
	if !p.opts.DryRun {
		if err := p.apply(ctx); err != nil {
			return err
		}
	}
	if result.Report, err = p.inspect(ctx); err != nil {
		return err
	}
	if err := p.layout(ctx, result); err != nil {
		return err
	}
	switch {
	case !result.Report.Ready() && (p.opts.DryRun || !p.opts.AcceptLoss):
		return ErrLoss
	case p.opts.DryRun:
		return nil
	case result.Report.Standby:
		return ErrStandby
	}
	if err := p.alone(ctx); err != nil {
		return err
	}
	p.point("promote:before-retire")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := p.retire(ctx, result.Report); err != nil {
		return err
	}
	result.Promoted = true
	p.point("promote:retired")
	return nil
}

// record is what a target that was given up has.
type record struct {
	// Home is the database of the site that was promoted: a folder may be another one's
	// target later, and be given up again.
	Home   string `json:"home"`
	Report Report `json:"report"`
}

// before tells whether this site was promoted before, and what was found then.
func (p *promotion) before(ctx context.Context, report *Report) (bool, error) {
	text, err := p.targets.retired(ctx)
	if text == nil || err != nil {
		return false, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return false, fmt.Errorf("read what an earlier promotion has found: %w", err)
	}
	home, err := database.Identity(ctx, p.home)
	*report = r.Report
	return r.Home == home, err
}

// retire gives all targets up.
func (p *promotion) retire(ctx context.Context, report Report) error {
	home, err := database.Identity(ctx, p.home)
	if err != nil {
		return err
	}
	text, err := json.Marshal(record{home, report})
	if err != nil {
		return err
	}
	return p.targets.retire(ctx, text)
}

// inspect looks, reads what is to be read, and has what is damaged copied again, once.
func (p *promotion) inspect(ctx context.Context) (report Report, err error) {
	if report, err = look(ctx, p.home, p.source); err != nil {
		return report, err
	}
	damaged, verified, err := p.verify(ctx)
	if err != nil || len(damaged) == 0 {
		report.Verified = verified
		return report, err
	}
	if !p.opts.DryRun {
		if err := p.repair(ctx, damaged); err != nil {
			return report, err
		}
		if report, err = look(ctx, p.home, p.source); err != nil {
			return report, err
		}
		if damaged, verified, err = p.verify(ctx); err != nil {
			return report, err
		}
	}
	for kind, keys := range damaged {
		report.add(kind, Found{Cause: Damaged, Count: int64(len(keys)), Keys: keys})
	}
	report.Verified = verified
	return report, nil
}

// alone returns an error while other workers of this site are at work: what they are about
// to publish would be refused, and looked at by nobody.
func (p *promotion) alone(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	rows, err := p.home.Query(ctx, promoteSQL.Workers, host, os.Getpid())
	if err != nil {
		return fmt.Errorf("list the workers of this site: %w", err)
	}
	workers, err := collectText(rows)
	if err != nil {
		return fmt.Errorf("list the workers of this site: %w", err)
	}
	if len(workers) > 0 {
		return fmt.Errorf("%w: %v; stop them (one that was killed is forgotten after 30 s)", ErrWorkers, workers)
	}
	return nil
}

func (p *promotion) point(name string) {
	if p.cfg.Hook != nil {
		p.cfg.Hook(name)
	}
}
