package registry

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Statements, and the limits of groups and pages.
var (
	ClaimSQL           = claimSQL
	ResyncSQL          = resyncSQL
	SweepSQL           = sweepSQL
	TransposeSQL       = transposeSQL
	ChangeSelectionSQL = changeSelectionSQL
)

const (
	PublishGroup = publishGroup
	SweepPage    = sweepPage
	WatchPage    = watchPage
)

// Resources are those of jobs.
var Resources = resources

func (s *Selection) Has(scope *string) bool              { return s.has(scope) }
func (s *Selection) Same(other *Selection) bool          { return s.same(other) }
func (r *Registry) Process() *Process                    { return r.process }
func (r *Registry) Pool() *pgxpool.Pool                  { return r.cfg.Pool }
func (r *Registry) SetPool(pool *pgxpool.Pool)           { r.cfg.Pool = pool }
func (p *Process) WatchClaims(ctx context.Context) error { return p.watchClaims(ctx) }
func (p *Process) MoveCounts(ctx context.Context) error  { return p.moveCounts(ctx) }
func (p *Process) SweepDead(ctx context.Context) error   { return p.sweepDead(ctx) }
func (p *Process) SweepRows(ctx context.Context, kinds, keys []string, newest []*int64) error {
	return p.sweepRows(ctx, kinds, keys, newest)
}

// Claiming is a claim of a group, Completion the end of a run of one.
type (
	Claiming   = claiming
	Completion = completion
)

// NewClaiming is what [Registry.Claim] makes.
func NewClaiming(ctx context.Context, token Token, id uuid.UUID) *Claiming {
	return &claiming{token: token, job: 7, id: id, ctx: ctx, done: make(chan struct{})}
}

// Again makes a claim that has been answered one that has not.
func (c *claiming) Again() { c.done = make(chan struct{}) }

func (c *claiming) Done() <-chan struct{} { return c.done }

func (c *claiming) Answer() (*Claim, error) { return c.claim, c.err }

// NewPublication is what [Registry.Publish] makes.
func NewPublication(claim *Claim, result Result, publish func(context.Context) error) *Completion {
	return &completion{claim: claim, outcome: published, result: result, publish: publish, done: make(chan struct{})}
}

// NewRelease is what [Registry.Release] makes.
func NewRelease(claim *Claim) *Completion {
	return &completion{claim: claim, outcome: released, done: make(chan struct{})}
}

func (c *completion) Done() <-chan struct{} { return c.done }
func (c *completion) Err() error            { return c.err }

func (r *Registry) TryClaims(group []*Claiming) error { return r.tryClaims(group) }
func (r *Registry) ClaimAll(group []*Claiming)        { r.claimAll(group) }
func (r *Registry) TryComplete(group []*Completion) ([]*Completion, error) {
	return r.tryComplete(group)
}
func (r *Registry) CompleteAll(group []*Completion) { r.completeAll(group) }

// CompleteArgs are those of ClaimSQL.Complete for one publication.
func CompleteArgs(claim *Claim) []any {
	return completeColumns([]completed{{completion: &completion{claim: claim, outcome: published}, published: true}})
}

// SweepMoves is what a process does every five seconds.
func (p *Process) SweepMoves(ctx context.Context) error { return p.sweepMoves(ctx) }
