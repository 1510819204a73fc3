package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"casq/internal/database"
	"casq/transfer"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// marked is a transfer whose target has a mark, by which it is known again.
type marked interface {
	Mark(ctx context.Context) (transfer.Mark, error)
	Keep(ctx context.Context, mark transfer.Mark, create bool) error
}

// identify makes sure that a target is the one that home's rows tell of, and has
// its mark compared from then on. At the first use home chooses an id, and then, under
// the row's lock, the mark is made: of many workers that start at once those whose
// folder is not mounted must not make one as well. If this process dies in between,
// the next one goes on. [transfer.ErrElsewhere] is worth waiting for.
func (w *worker) identify(ctx context.Context, name, address string, target marked) error {
	self, err := database.Identity(ctx, w.home)
	if err != nil {
		return err
	}
	found, err := target.Mark(ctx)
	if err != nil {
		return err
	}
	if err := w.chooseTarget(ctx, name, placeOf(address), self, found); err != nil {
		return fmt.Errorf("choose an identity for the target of %s: %w", name, err)
	}
	return pgx.BeginFunc(ctx, w.home, func(tx pgx.Tx) error { return keepTarget(ctx, tx, name, address, self, target) })
}

// chooseTarget makes home's row of a target where there is no row, unless the mark
// is another site's. One that this very database has made tells of a row that a
// failover has lost.
func (w *worker) chooseTarget(ctx context.Context, name, place, self string, found transfer.Mark) error {
	id := cmp.Or(found.ID, uuid.NewString())
	if found.ID != "" && (found.Home != self || found.Transfer != name) {
		return nil // home has a row with this id, or the target is refused
	}
	_, err := w.home.Exec(ctx, "INSERT INTO casq.targets (transfer, id, place) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", name, id, place)
	return err
}

func keepTarget(ctx context.Context, tx pgx.Tx, name, address, self string, target marked) error {
	var id, place string
	var made bool
	err := tx.QueryRow(ctx, "SELECT id::text, place, marked_at IS NOT NULL FROM casq.targets WHERE transfer = $1 FOR UPDATE", name).Scan(&id, &place, &made)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the identity of the target of %s: %w", name, err)
	}
	found, err := target.Mark(ctx)
	if err != nil {
		return err
	}
	at := placeOf(address)
	switch {
	case found.ID != "" && (found.ID != id || found.Transfer != name):
		return fmt.Errorf("%w: %s is the target of another site, or of something else here (.casq/target names %s); "+
			"use a folder or bucket of its own, or remove that file if nothing else uses it", transfer.ErrElsewhere, at, found.Transfer)
	case found.ID == "" && made:
		return fmt.Errorf("%w: %s has no mark (.casq/target), and this site's target has one; mount what was at %s, "+
			"or, if this is to be the target from now on, run SELECT casq.replace_target('%s') in home", transfer.ErrElsewhere, at, place, name)
	}
	if err := target.Keep(ctx, transfer.Mark{ID: id, Transfer: name, Home: self}, found.ID == ""); err != nil || made {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE casq.targets SET marked_at = clock_timestamp() WHERE transfer = $1", name)
	return err
}

// placeOf is where a target is, for messages: a folder's path says little without
// the machine.
func placeOf(address string) string {
	address, _, _ = strings.Cut(address, "?")
	if folder := strings.TrimPrefix(address, "file://"); !strings.Contains(folder, "://") {
		host, _ := os.Hostname()
		return host + ":" + folder
	}
	return address
}
