package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// notCopied are folders whose content belongs to the running server, or comes
// from the primary anew: the log is streamed from the slot, which was made
// before the copy began.
var notCopied = map[string]bool{
	"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true,
	"pg_serial": true, "pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
}

// baseBackup copies the primary, which keeps its log from then on. It is the
// low-level way of Postgres' manual and needs no program: installations that are
// made for embedding have no pg_basebackup.
func (p *Postgres) baseBackup(ctx context.Context, primary *Postgres) error {
	if err := primary.makeSlot(ctx, p.name); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, primary.URL("postgres"))
	if err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	// The backup ends with its session, whatever becomes of this.
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SELECT pg_backup_start($1, true)", p.name); err != nil {
		return fmt.Errorf("begin to copy the primary: %w", err)
	}
	return p.place.fill(func(fresh string) error {
		user := p.place.run.user
		if err := copyLive(primary.place.data(), fresh, user.own); err != nil {
			return fmt.Errorf("copy the primary: %w", err)
		}
		var label string
		if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_backup_stop(false)").Scan(&label); err != nil {
			return fmt.Errorf("end the copy of the primary: %w", err)
		}
		// The two files make the copy a standby that begins where the copy did.
		return errors.Join(user.write(filepath.Join(fresh, "backup_label"), []byte(label)),
			user.write(filepath.Join(fresh, standbySignal), nil))
	})
}

// copyLive copies the data of a running server. What a page was torn by is
// mended by the log; a file that goes meanwhile is removed by the log, too.
func copyLive(from, to string, own func(string) error) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case notCopied[filepath.Dir(rel)] && entry.IsDir():
			return filepath.SkipDir
		case notCopied[filepath.Dir(rel)] || rel == "postmaster.pid" || rel == "postmaster.opts":
			return nil
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		default:
			err = copyFile(path, target)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return own(target)
	})
}
