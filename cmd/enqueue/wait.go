package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"casq/cmd/internal/cli"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// mostNamed bounds the resources that are named.
const mostNamed = 20

// errFailed makes the program exit with 1 when it has waited for resources and
// some of them failed.
var errFailed = errors.New("some resources failed")

// waiter waits for versions that were asked for. It keeps them in a temporary
// table of its own session, so that a million of them need no memory here.
type waiter struct {
	conn  *pgxpool.Conn
	total int64
}

// outcome is what became of them.
type outcome struct {
	Asked  int64        `json:"asked"`
	Failed int64        `json:"failed"`
	Named  []failedItem `json:"failed_resources"` // the first of those that failed
}

type failedItem struct {
	ResourceID string     `json:"resource_id"`
	Version    int64      `json:"version"`
	Error      string     `json:"error"`
	RetryAt    *time.Time `json:"retry_at"` // nil: not tried again by itself
}

func (h *home) newWaiter(ctx context.Context) (*waiter, error) {
	conn, err := h.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to wait: %w", err)
	}
	_, err = conn.Exec(ctx, `CREATE TEMPORARY TABLE asked (kind text COLLATE "C", resource_id text COLLATE "C", version bigint)`)
	if err != nil {
		conn.Release()
		return nil, fmt.Errorf("make a list to wait for: %w", err)
	}
	return &waiter{conn: conn}, nil
}

// close ends the session, and its list with it.
func (w *waiter) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Hijack().Close(ctx)
}

// add puts versions that were asked for on the list.
func (w *waiter) add(ctx context.Context, jobs []registry.Job) error {
	rows := pgx.CopyFromSlice(len(jobs), func(i int) ([]any, error) {
		return []any{jobs[i].Kind, jobs[i].ResourceID, jobs[i].Version}, nil
	})
	_, err := w.conn.CopyFrom(ctx, pgx.Identifier{"pg_temp", "asked"}, []string{"kind", "resource_id", "version"}, rows)
	if err != nil {
		return fmt.Errorf("note what to wait for: %w", err)
	}
	w.total += int64(len(jobs))
	return nil
}

// wait returns when nothing is left on the list of resources of a kind.
func (w *waiter) wait(ctx context.Context, cmd *cobra.Command, p patience, h *home, what, kind string) (o outcome, err error) {
	o = outcome{Asked: w.total, Named: []failedItem{}}
	if _, err := w.conn.Exec(ctx, "ANALYZE pg_temp.asked"); err != nil {
		return o, fmt.Errorf("prepare to wait: %w", err)
	}
	queue, err := h.queueOf(ctx, kind)
	if err != nil {
		return o, err
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), what+" "+kind, w.total)
	defer progress.Close()
	ctx, waits := p.start(ctx, h, progress, queue)
	defer waits.stop()
	for done := int64(0); ; {
		began := time.Now()
		n, err := w.poll(ctx, &o)
		done += n
		progress.Set(done)
		if err == nil && done < w.total {
			err = waits.pause(ctx, time.Since(began))
		}
		if err != nil {
			return o, fmt.Errorf("wait, with %d of %d not done: %w", w.total-done, w.total, waits.failed(ctx, err))
		}
		if done == w.total {
			return o, nil
		}
	}
}

// poll takes what is done off the list, and returns how much that was.
func (w *waiter) poll(ctx context.Context, o *outcome) (done int64, err error) {
	rows, err := w.conn.Query(ctx, statusSQL.Waited)
	if err != nil {
		return 0, err
	}
	var key string
	var failed *failedItem
	_, err = pgx.ForEachRow(rows, []any{&key, &failed}, func() error {
		done++
		if failed != nil {
			o.Failed++
			if len(o.Named) < mostNamed {
				o.Named = append(o.Named, *failed)
			}
		}
		failed = nil
		return nil
	})
	return done, err
}

// text says what became of them, and names those that failed.
func (o outcome) text(done string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s, %d failed", o.Asked-o.Failed, done, o.Failed)
	for _, f := range o.Named {
		fmt.Fprintf(&text, "\n  %s: %s", cli.Name(f.ResourceID), cli.Line(f.Error))
		if f.RetryAt != nil {
			fmt.Fprintf(&text, " (tried again at %s)", f.RetryAt.Format(time.RFC3339))
		}
	}
	if more := o.Failed - int64(len(o.Named)); more > 0 {
		fmt.Fprintf(&text, "\n  and %d more; SELECT * FROM casq.registry_status WHERE status = 'failed'", more)
	}
	return text.String()
}

// err is not nil when any of them failed.
func (o outcome) err() error {
	if o.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d", errFailed, o.Failed, o.Asked)
}
