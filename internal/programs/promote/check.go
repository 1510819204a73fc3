package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"casq/internal/database"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
)

// rows are the texts of a table of the promoted database, by key.
func (r *rehearsal) rows(ctx context.Context, sql string) (map[string]string, error) {
	rows, err := r.promoted.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	var key, text string
	_, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		found[key] = text
		return nil
	})
	return found, err
}

// missingFiles are the keys of rows whose bytes are not below a folder.
func (r *rehearsal) missingFiles(ctx context.Context, folder string) (missing []string, err error) {
	rows, err := r.rows(ctx, "SELECT path, sha256 FROM uploads")
	for key, sum := range rows {
		if sumOf(filepath.Join(folder, key)) != sum {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	return missing, err
}

// sumOf is a file's SHA-256; "": it cannot be read.
func sumOf(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// missingHeads are the keys of repositories that do not have, on their branch, what their row
// names.
func (r *rehearsal) missingHeads(ctx context.Context, folder string) (missing []string, err error) {
	rows, err := r.rows(ctx, "SELECT path, head FROM projects")
	for key, head := range rows {
		if _, err := git(ctx, filepath.Join(folder, key), "merge-base", "--is-ancestor", head, "refs/heads/main"); err != nil {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	return missing, err
}

// unchangedFiles are the inode numbers of files that are as their rows say.
func (r *rehearsal) unchangedFiles(ctx context.Context, folder string) (map[string]uint64, error) {
	rows, err := r.rows(ctx, "SELECT path, sha256 FROM uploads")
	inodes := make(map[string]uint64)
	for key, sum := range rows {
		name := filepath.Join(folder, key)
		if sumOf(name) != sum || sumOf(filepath.Join(r.folder("second", "files"), "upload", key)) != sum {
			continue // the new primary does not have it either
		}
		var st syscall.Stat_t
		if err := syscall.Stat(name, &st); err != nil {
			return nil, err
		}
		inodes[key] = st.Ino
	}
	return inodes, err
}

// inStep returns when the old site has all that the new primary one has, and says so.
func (r *rehearsal) inStep(ctx context.Context, homeURL string) error {
	home, err := database.Open(ctx, homeURL, database.Options{})
	if err != nil {
		return err
	}
	defer home.Close()
	deadline := time.Now().Add(patience)
	for {
		var open, known int
		err := home.QueryRow(ctx, `SELECT count(*) FILTER (WHERE status IN ('pending', 'started')), count(*) FROM casq.registry_status`).Scan(&open, &known)
		if err != nil {
			return err
		}
		here, err := r.missingFiles(ctx, r.folder("first", "files"))
		there, thereErr := r.missingFiles(ctx, filepath.Join(r.folder("second", "files"), "upload"))
		heads, headsErr := r.missingHeads(ctx, r.folder("first", "repositories"))
		headsThere, headsThereErr := r.missingHeads(ctx, r.folder("second", "repositories"))
		if err := errors.Join(err, thereErr, headsErr, headsThereErr); err != nil {
			return err
		}
		behind := slices.DeleteFunc(append(here, heads...), func(key string) bool { return slices.Contains(there, key) || slices.Contains(headsThere, key) })
		if len(behind) == 0 && open == 0 && known > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for the old site to be in step: %q are not, %d are to be copied", behind, open)
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
