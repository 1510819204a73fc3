package cursor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/logged"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
)

// picky is a consumer like writer that refuses the batches in which it finds
// the resource "poison", after it has written.
func picky(err error) writer {
	return writer{fail: func(batch eventlog.Batch) error {
		for _, e := range batch.Events {
			if strings.HasPrefix(e.ResourceID, "poison") {
				return err
			}
		}
		return nil
	}}
}

// failures are what was dead-lettered, a row a line.
func (b *testBundle) failures(t *testing.T) string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `SELECT concat_ws(' ', cursor, kind, resource_id, op, code, tries, reason)
		FROM casq.event_failures ORDER BY event_id`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, "\n")
}

// Of a batch the one event that is refused is dead-lettered, and the others take
// effect in their order. What a constraint refuses only at the commit, too.
func TestAnEventThatCannotBeAppliedIsDeadLettered(t *testing.T) {
	t.Parallel()
	syntax := json.Unmarshal([]byte("{"), new(any))
	deferred := "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN" +
		" IF NEW.resource = 'poison' THEN RAISE check_violation USING MESSAGE = 'not at the end'; END IF; RETURN NULL; END $$;" +
		" CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
	for name, test := range map[string]struct {
		consumer Consumer
		prepare  string
		want     string // code and tries
		says     string
		failed   int // batches, before
	}{
		"constraint":          {writer{}, "ALTER TABLE effects ADD CONSTRAINT no_poison CHECK (resource <> 'poison')", "23514 4 ", "no_poison", 3},
		"deferred constraint": {writer{}, deferred, "23514 4 ", "not at the end", 6},
		"overflow":            {writer{}, "ALTER TABLE effects ADD n2 int GENERATED ALWAYS AS (repeat('9', CASE resource WHEN 'poison' THEN 12 ELSE 1 END)::int) STORED", "22003 4 ", "999999999999", 3},
		"decoding":            {picky(syntax), "", " 4 ", "unexpected end of JSON input", 3},
		"unknown kind":        {picky(eventlog.ErrUnknownKind), "", " 4 ", "unknown kind", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if test.prepare != "" {
				b.exec(t, test.prepare)
			}
			b.write(t, "a", "b", "poison", "c", "a", "d", "e")
			log := &logged.Messages{}
			cfg := b.config(t)
			cfg.Consumer, cfg.Logger = test.consumer, slog.New(log)
			run(t, cfg)
			b.untilEffects(t, "a", "b", "c", "a", "d", "e")
			if got := b.failures(t); !strings.HasPrefix(got, "test resource poison updated "+test.want) || !strings.Contains(got, test.says) || strings.Contains(got, "\n") {
				t.Errorf("dead-lettered: %s", got)
			}
			untilLogged(t, log, "event could not be applied, dead-lettered", 1)
			if n := log.Count("batch failed"); n != test.failed {
				t.Errorf("%d batches failed, want %d", n, test.failed)
			}
			b.write(t, "f")
			b.untilEffects(t, "a", "b", "c", "a", "d", "e", "f")
		})
	}
}

// What says nothing about the events is tried again until it is over, and
// nothing is dead-lettered for it, also when it comes in the middle of a batch that
// has data which is refused, too.
func TestNothingIsDeadLetteredForTheSystem(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"53100", "53200", "42501", "40001", "40P01", "57014", "55P03", "P0001", "XX000", "08006", "25P03"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, "CREATE TABLE broken AS SELECT true AS broken")
			b.exec(t, fmt.Sprintf(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF NEW.resource = 'c' AND (SELECT broken FROM broken) THEN RAISE 'not now' USING ERRCODE = '%s'; END IF; RETURN NEW; END $$`, code))
			b.exec(t, "CREATE TRIGGER fail BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION fail()")
			b.exec(t, "ALTER TABLE effects ADD CONSTRAINT no_poison CHECK (resource <> 'poison')")
			b.write(t, "a", "poison", "b", "c", "d")
			log := &logged.Messages{}
			cfg := b.config(t)
			cfg.Logger = slog.New(log)
			run(t, cfg)
			untilLogged(t, log, "batch failed", 8)
			if got := b.failures(t); got != "" {
				t.Fatalf("dead-lettered: %s", got)
			}
			b.wantEffects(t)
			b.exec(t, "UPDATE broken SET broken = false")
			b.untilEffects(t, "a", "b", "c", "d")
			if got := b.failures(t); !strings.Contains(got, "poison") || strings.Contains(got, "\n") {
				t.Errorf("dead-lettered: %s", got)
			}
		})
	}
}

// Two events that are refused together and not alone: no event is lost.
func TestEventsThatFailOnlyTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b", "c", "d", "b")
	cfg := b.config(t)
	cfg.Consumer = writer{fail: func(batch eventlog.Batch) error {
		if len(batch.Events) > 1 {
			return fmt.Errorf("together: %w", &json.SyntaxError{})
		}
		return nil
	}}
	run(t, cfg)
	b.untilEffects(t, "a", "b", "c", "d", "b")
	if got := b.failures(t); got != "" {
		t.Errorf("dead-lettered: %s", got)
	}
}

// The answer to the commit that has moved past the event is lost: it is recorded
// once. Read again, it is open again.
func TestDeadLetteredOnce(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, "ALTER TABLE effects ADD CONSTRAINT no_poison CHECK (resource <> 'poison')")
	b.write(t, "a", "poison", "b")
	network := faultproxy.New()
	cfg := b.config(t)
	cfg.Home = network.Pool(t, b.url)
	cfg.Hook = func(point string) {
		if point == "batch:applied" { // only in the batch that takes effect
			network.LoseAnswer("commit")
		}
	}
	first := run(t, cfg)
	b.untilEffects(t, "a", "b")
	<-network.Lost()
	b.write(t, "c")
	b.untilEffects(t, "a", "b", "c")
	if got := b.failures(t); strings.Count(got, "23514 4 ") != 1 || strings.Contains(got, "\n") {
		t.Errorf("dead-lettered: %s", got)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE casq.event_failures SET replayed_at = now()")
	b.exec(t, "DELETE FROM casq.cursors")
	run(t, b.config(t))
	b.untilEffects(t, "a", "b", "c", "a", "b", "c")
	b.until(t, "SELECT replayed_at IS NULL AND tries = 8 FROM casq.event_failures")
}

// What is bad for one consumer is not for another.
func TestEachConsumerHasItsOwnFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "poison")
	first, second := b.config(t), b.config(t)
	first.Name, first.Consumer = "picky", picky(&json.SyntaxError{})
	second.Name, second.Consumer = "pickier", picky(json.Unmarshal([]byte("1"), new(string)))
	run(t, first)
	run(t, second)
	run(t, b.config(t))
	b.untilEffects(t, "poison")
	b.until(t, "SELECT count(DISTINCT cursor) = 2 FROM casq.event_failures")
}

// Savepoints that are left behind pile up, one for each event that is refused.
func TestNoSavepointIsLeftBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	for _, want := range []error{nil, errors.New("refused")} {
		err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
			if err := savepoint(ctx, tx, func() error { return want }); !errors.Is(err, want) {
				t.Errorf("error is %v, want %v", err, want)
			}
			_, err := tx.Exec(ctx, "RELEASE SAVEPOINT part")
			return err
		})
		if database.Code(err) != "3B001" {
			t.Errorf("after %v: %v, want no such savepoint", want, err)
		}
	}
}

// A batch of nothing but events that are refused takes a bounded time.
func TestABatchOfNothingElse(t *testing.T) {
	long.Test(t)
	t.Parallel()
	const events = 1000
	b := setup(t)
	b.exec(t, "SELECT casq.append_event('resource', 'poison' || n, 'updated') FROM generate_series(1, $1) AS n", events)
	b.write(t, "a")
	log := &logged.Messages{}
	cfg := b.config(t)
	cfg.Consumer, cfg.Logger, cfg.Tries = picky(&json.SyntaxError{}), slog.New(log), 1
	began := time.Now()
	run(t, cfg)
	b.untilEffects(t, "a")
	b.until(t, fmt.Sprintf("SELECT count(*) = %d FROM casq.event_failures", events))
	t.Logf("%d events in %v", events, time.Since(began))
	if n := log.Count("event could not be applied"); n != mostWarnings {
		t.Errorf("%d warnings, want %d", n, mostWarnings)
	}
	untilLogged(t, log, "more events could not be applied", 1)
}

// A reason, or a key, that home cannot store is escaped.
func TestAFailureThatCannotBeStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `ALTER TABLE casq.event_failures ADD CHECK (resource_id !~ '[^ -~]'), ADD CHECK (reason !~ '[^ -~]')`)
	b.write(t, "poison ü", "a")
	cfg := b.config(t)
	cfg.Consumer = picky(fmt.Errorf("\x00\xff ü %s%w", strings.Repeat("x", mostReason), &json.SyntaxError{}))
	run(t, cfg)
	b.untilEffects(t, "a")
	if got := b.failures(t); !strings.HasPrefix(got, `test resource poison \u00fc updated  4 ?? \u00fc xxx`) || len(got) > mostReason+100 {
		t.Errorf("dead-lettered: %s", got)
	}
}

// A consumer that is stopped in the middle of a batch's parts.
func TestStoppedWhileApplyingParts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "poison", "b")
	cfg := b.config(t)
	cfg.Tries = 1
	reached := make(chan struct{}, 100)
	cfg.Consumer = writer{fail: func(batch eventlog.Batch) error {
		if len(batch.Events) == 1 {
			reached <- struct{}{}
			return context.Canceled
		}
		return &json.SyntaxError{}
	}}
	first := run(t, cfg)
	<-reached
	if err := first.stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.wantEffects(t)
	if got := b.failures(t); got != "" {
		t.Errorf("dead-lettered: %s", got)
	}
}
