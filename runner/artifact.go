package runner

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"casq/internal/queries"
	"casq/internal/span"

	"github.com/jackc/pgx/v5"
)

//go:embed artifact.sql
var artifactText string

// artifactSQL has the statements of artifact.sql.
var artifactSQL = queries.Parse[struct {
	Coming, LockAttempt, Keep, Arrived, Supersede, Same, Expire, Leftovers, Asking string
}]("runner/artifact", artifactText)

// FileStore keeps the files that builds leave, by key: [casq/runner/filestore] has two.
// A key is a relative path of letters, digits, _, - and dots, and is used once.
type FileStore interface {
	// Put stores what it reads, to its end. When it returns nil all of it is durable; else
	// nothing is left, or a later Remove removes it. An error of the reader is returned as
	// it is.
	Put(ctx context.Context, key string, content io.Reader) error
	// Open returns [fs.ErrNotExist] of a key that has nothing.
	Open(ctx context.Context, key string) (io.ReadSeekCloser, error)
	// Remove removes what Put has stored, or begun to: a Put that goes on after it fails.
	// It is no error that there is nothing.
	Remove(ctx context.Context, key string) error
}

// artifact is a file that an attempt leaves.
type artifact struct {
	key, kind, format, filename string
	size                        int64
	sum                         []byte
	expires                     *float64 // after so many seconds
}

// newArtifactKey has no word of the runner's but the type, which is a name. Its last part
// is another for each upload, so that no upload touches the bytes of another.
func newArtifactKey(j job, kind string) string {
	return fmt.Sprintf("builds/%d/%d/%s/%s", j.id, j.attempt, kind, strings.ToLower(rand.Text()))
}

var (
	errNoStore = &problem{404, "no artifacts are kept here"}
	errAnother = &problem{400, "the build has left another file of that type already"}
)

// keep writes the row of what was stored. The row, its event and what counts it are of
// one transaction. What the attempt has already, of the same bytes, is left as it is: the
// answer to it was lost. It tells whether the bytes are those of the row.
func (c *Coordinator) keep(ctx context.Context, j job, a artifact) (kept bool, err error) {
	err = pgx.BeginFunc(ctx, c.primary, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, pickSQL.Impatient); err != nil {
			return err
		}
		var project int64
		err := tx.QueryRow(ctx, artifactSQL.LockAttempt, j.id, j.attempt).Scan(&project)
		if errors.Is(err, pgx.ErrNoRows) {
			return errForbidden
		}
		if err != nil {
			return err
		}
		added, err := tx.Exec(ctx, artifactSQL.Keep, a.key, j.id, j.attempt, project, a.kind, a.format, a.filename, a.size, a.sum, a.expires)
		if err != nil {
			return err
		}
		if kept = added.RowsAffected() == 1; !kept {
			return same(ctx, tx, j, a)
		}
		arrived, err := tx.Exec(ctx, artifactSQL.Arrived, a.key)
		if err != nil {
			return err
		}
		if arrived.RowsAffected() != 1 {
			return errForbidden // its bytes were removed, or are being: the attempt had ended
		}
		_, err = tx.Exec(ctx, artifactSQL.Supersede, j.id, j.attempt, a.kind)
		return err
	})
	return kept && err == nil, held(err)
}

func same(ctx context.Context, tx pgx.Tx, j job, a artifact) error {
	var same bool
	err := tx.QueryRow(ctx, artifactSQL.Same, j.id, j.attempt, a.kind, a.size, a.sum).Scan(&same)
	if err == nil && !same {
		return errAnother
	}
	return err
}

// discard removes the bytes of an upload that gets no row, and then forgets them. What
// cannot be removed now is removed after the attempt's end.
func (c *Coordinator) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	if err := c.removeBytes(ctx, key); err != nil {
		c.log.WarnContext(ctx, "cannot remove an upload that failed, it is removed when its build has ended", "key", key, "err", err)
	}
}

func (c *Coordinator) removeBytes(ctx context.Context, key string) error {
	if err := c.options.Artifacts.Remove(ctx, key); err != nil {
		return fmt.Errorf("remove artifact %s: %w", key, err)
	}
	if _, err := c.change(ctx, nil, artifactSQL.Arrived, key); err != nil {
		return fmt.Errorf("forget artifact %s: %w", key, err)
	}
	return nil
}

// removeAtOnce is how many artifacts one statement finds.
const removeAtOnce = 500

// expireArtifacts deletes the rows of what has expired, by which other sites remove their
// copies; and then the bytes that no row has. So no row is ever without its bytes, and
// in the end no bytes are without a row, wherever it stops.
func (c *Coordinator) expireArtifacts(ctx context.Context) error {
	if c.options.Artifacts == nil {
		return nil
	}
	for {
		deleted, err := c.change(ctx, nil, artifactSQL.Expire, removeAtOnce)
		if err != nil {
			return fmt.Errorf("delete artifacts that have expired: %w", err)
		}
		if deleted < removeAtOnce {
			return c.removeLeftovers(ctx)
		}
	}
}

// removeLeftovers goes on after what it cannot remove.
func (c *Coordinator) removeLeftovers(ctx context.Context) error {
	var failed error
	for last := ""; ; {
		rows, err := c.primary.Query(ctx, artifactSQL.Leftovers, last, removeAtOnce)
		if err != nil {
			return fmt.Errorf("find artifacts to remove: %w", err)
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("find artifacts to remove: %w", err)
		}
		for _, key := range keys {
			if err := c.removeBytes(ctx, key); err != nil {
				failed = err
			}
			last = key
		}
		if len(keys) < removeAtOnce || ctx.Err() != nil {
			return failed
		}
	}
}

// expiry is how many seconds an artifact is kept of which its job says expire_in, in the
// words of [span.Parse], or "never". nil is for ever.
func expiry(text string) (*float64, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.EqualFold(text, "never") {
		return nil, nil
	}
	d, err := span.Parse(text)
	if err != nil {
		return nil, &problem{400, "expire_in is a time such as 1 week, 2 hrs 30 mins, or never"}
	}
	seconds := d.Seconds()
	return &seconds, nil
}
