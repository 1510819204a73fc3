package cursor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
)

// hauler is a consumer that sends each payload home.
type hauler struct{ writer }

func (h hauler) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	payloads := make([]string, len(batch.Events))
	for i, e := range batch.Events {
		payloads[i] = string(e.Payload)
	}
	if _, err := tx.Exec(ctx, "SELECT count(*) FROM unnest($1::text[])", payloads); err != nil {
		return err
	}
	return h.writer.Apply(ctx, tx, batch)
}

// On a link that is too slow for a whole page to get across before home ends the
// session, as it is idle in the eyes of home, smaller ones do; and larger ones
// again once the link is better.
func TestPagesBecomeSmallerOnASlowLink(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', i::text, 'updated', jsonb_build_object('v', (SELECT string_agg(md5(i::text || w::text), '') FROM generate_series(1, 300) AS w))
		FROM generate_series(1, 200) AS i`)
	b.tick(t)
	network := faultproxy.New()
	network.Narrow(200_000, time.Second)
	cfg := b.config(t)
	cfg.Home = network.Open(t, b.url, database.Options{IdleInTransaction: 200 * time.Millisecond, SearchPath: "public"})
	cfg.Consumer = hauler{}
	c := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	b.until(t, "SELECT count(*) >= 200 FROM effects")
	network.Widen()
	for i := range 30 * enoughPages {
		b.write(t, fmt.Sprint("more ", i))
	}
	b.until(t, fmt.Sprintf("SELECT count(*) >= %d FROM effects", 200+30*enoughPages))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var n, distinct int
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT resource) FROM effects").Scan(&n, &distinct); err != nil || n != distinct {
		t.Errorf("%d effects of %d events, %v", n, distinct, err)
	}
}

const enoughPages = 4
