package races

import (
	"context"
	"testing"

	"casq/eventlog"
	casqdb "casq/internal/database"
	"casq/internal/testing/transfertest"
	"casq/jobs"
	"casq/registry"
	"casq/transfer"
	"casq/transfer/file"

	"github.com/jackc/pgx/v5"
)

// hand plays a worker step by step, with the real packages. A naive twin does
// one of the steps itself, without its guard.
type hand struct {
	*registrySite
	queue      *jobs.Queue
	process    *registry.Process
	registry   *registry.Registry
	files      *file.Files
	reader     *eventlog.Reader
	position   eventlog.Position
	transposer *registry.Transposer
	unfenced   bool // a naive twin
}

func (s *registrySite) byHand(t *testing.T) *hand {
	t.Helper()
	pool, err := casqdb.Open(t.Context(), s.url, casqdb.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	h := &hand{registrySite: s, reader: eventlog.NewReader(pool, 0)}
	if h.queue, err = jobs.NewQueue(pool, raceLog(t)); err != nil {
		t.Fatal(err)
	}
	h.transposer = &registry.Transposer{Jobs: h.queue}
	h.process = registry.NewProcess(registry.ProcessConfig{Pool: pool, Queue: h.queue, Logger: raceLog(t)})
	if err := h.process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.process.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	h.registry = registry.New(registry.Config{Pool: pool, Jobs: h.queue, Logger: raceLog(t)}, h.process)
	source, err := file.OpenSource(s.source, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if h.files, err = file.Open(file.Config{Source: source, Target: s.target, Logger: raceLog(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.files.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// next takes a tick and returns what is in the log beyond the last one.
func (h *hand) next(t *testing.T) eventlog.Batch {
	t.Helper()
	if _, err := eventlog.Tick(t.Context(), h.pool, true); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.position == (eventlog.Position{}) {
		if h.position, err = h.reader.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := h.reader.Next(t.Context(), h.position)
	if err != nil {
		t.Fatal(err)
	}
	h.position = batch.Next
	return batch
}

// follow transposes what is in the log, and returns the token of the row.
func (h *hand) follow(t *testing.T) registry.Token {
	t.Helper()
	batch := h.next(t)
	err := pgx.BeginFunc(t.Context(), h.pool, func(tx pgx.Tx) error {
		return h.transposer.Apply(t.Context(), tx, batch)
	})
	if err != nil {
		t.Fatal(err)
	}
	return registry.Token{Kind: "artifact", ResourceID: key, Version: h.row(t).Version}
}

// claim begins a run of the token.
func (h *hand) claim(t *testing.T, token registry.Token) *registry.Claim {
	t.Helper()
	claim, err := h.registry.Claim(t.Context(), token, 1)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// begin makes the claim's staging.
func (h *hand) begin(t *testing.T, claim *registry.Claim) transfer.Run {
	t.Helper()
	begin := h.files.Begin
	if h.unfenced {
		begin = transfertest.Unfenced(h.target, begin)
	}
	run, err := begin(t.Context(), transfer.Place{Key: key, Claim: claim.ID.String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run.Close(); err != nil {
			t.Error(err)
		}
	})
	return run
}

// copy claims the token and copies into staging.
func (h *hand) copy(t *testing.T, token registry.Token) transfer.Run {
	t.Helper()
	claim := h.claim(t, token)
	run := h.begin(t, claim)
	if _, err := run.Copy(t.Context(), claim.Payload); err != nil {
		t.Fatal(err)
	}
	return run
}

// publish renames, without a look at the row.
func publish(t *testing.T, run transfer.Run) {
	t.Helper()
	if err := run.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
}
