package reconcile

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// reconciler returns one of a process of its own, with small pages.
func (b *refetchBundle) reconciler(t *testing.T, change ...func(*Config)) *Reconciler {
	t.Helper()
	cfg := Config{
		Home: b.Pool, Source: b.Pool, Jobs: b.Queue, Process: b.Process(t).ID(), Logger: b.Logger,
		PageSize: 3, Patience: 200 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg)
}

func (b *refetchBundle) ask(t *testing.T, r registry.Request) (id int64) {
	t.Helper()
	if r.Reason == "" {
		r.Reason = registry.Asked
	}
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) (err error) {
		id, err = registry.Ask(t.Context(), tx, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// reconcile asks for a run, carries it out, and returns its report: what is
// not 0 of each kind, in words.
func (b *refetchBundle) reconcile(t *testing.T, request registry.Request, change ...func(*Config)) string {
	t.Helper()
	id := b.ask(t, request)
	b.round(t, b.reconciler(t, change...))
	if state := b.Text(t, "SELECT state || coalesce(': ' || waiting, '') FROM casq.reconcile_report WHERE run = $1 LIMIT 1", id); state != "finished" {
		t.Fatalf("the run is %s", state)
	}
	return b.report(t, id)
}

func (b *refetchBundle) round(t *testing.T, r *Reconciler) {
	t.Helper()
	if err := r.round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const counted = `SELECT coalesce(string_agg(c.kind || ':' || w.words, ' ' ORDER BY c.kind), '') FROM casq.reconcile_counts AS c
	CROSS JOIN LATERAL (
		SELECT string_agg(' ' || key || ' ' || value, '' ORDER BY key) AS words FROM jsonb_each_text(to_jsonb(c) - '{run,kind,examined}'::text[])
		WHERE value NOT IN ('0', 'false')
	) AS w WHERE run = $1`

func (b *refetchBundle) report(t *testing.T, id int64) string {
	t.Helper()
	return b.Text(t, counted, id)
}

// keysOf are those of jobs, in their order.
func keysOf(jobs []registry.Job) string {
	var keys []string
	for _, j := range jobs {
		keys = append(keys, j.ResourceID)
	}
	return strings.Join(keys, ", ")
}

// checkList is a queue of verifications.
type checkList struct{ tokens []registry.Token }

func (c *checkList) InsertChecks(_ context.Context, _ pgx.Tx, tokens []registry.Token) error {
	c.tokens = append(c.tokens, tokens...)
	return nil
}

// stagingList is a target's staging: folders by claim.
type stagingList struct {
	folders map[string]string
	listed  func()
}

func (s *stagingList) ListStaging(_ context.Context, each func(Staged) error) error {
	for folder, claim := range s.folders {
		if err := each(Staged{Folder: folder, Claim: claim}); err != nil {
			return err
		}
	}
	if s.listed != nil {
		s.listed()
	}
	return nil
}

func (s *stagingList) DropStaging(_ context.Context, staged Staged) error {
	delete(s.folders, staged.Folder)
	return nil
}

// riverJob puts a job into River's table.
func (b *refetchBundle) riverJob(t *testing.T, queue string, age time.Duration, token registry.Token) {
	t.Helper()
	args, err := json.Marshal(map[string]any{"kind": token.Kind, "resource_id": token.ResourceID, "version": token.Version})
	if err != nil {
		t.Fatal(err)
	}
	b.Exec(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue, scheduled_at, created_at)
		VALUES ($1, 'casq_sync', 25, $2, now() - $3::interval, now() - $3::interval)`, args, queue, age)
}

// claimed makes a row claimed by a process.
func (b *refetchBundle) claimed(t *testing.T, key string, process uuid.UUID) (claim string) {
	t.Helper()
	return b.Text(t, `UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = $2 WHERE resource_id = $1 RETURNING claim::text`, key, process)
}
