package buildfarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"casq/internal/testing/runnerclient"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// Files are the keys of the files that builds have left, with their SHA-256, as the table
// has them.
func (f *Farm) Files(ctx context.Context) (map[string]string, error) {
	rows, err := f.DB.Query(ctx, "SELECT key, encode(sha256, 'hex') FROM casq.artifacts")
	if err != nil {
		return nil, fmt.Errorf("list what builds have left: %w", err)
	}
	sums := make(map[string]string)
	var key, sum string
	_, err = pgx.ForEachRow(rows, []any{&key, &sum}, func() error { sums[key] = sum; return nil })
	return sums, err
}

// Restore brings back the bytes of rows which are there again since commits were lost: a
// later attempt had taken their place.
func (f *Farm) Restore(ctx context.Context) error {
	sums, err := f.Files(ctx)
	if err != nil {
		return err
	}
	for key, sum := range sums {
		place := filepath.Join(f.Folder, key)
		if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f.mu.Lock()
		content := f.files[sum]
		f.mu.Unlock()
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(place, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Check returns what does not hold, and what there was.
func (f *Farm) Check(ctx context.Context) (wrong []string, what string, err error) {
	wrong = f.History.Check(f.Limits)
	stuck, err := f.stuck(ctx)
	if err != nil {
		return nil, "", err
	}
	wrong = append(wrong, stuck...)
	open, err := f.Open(ctx)
	if err != nil {
		return nil, "", err
	}
	if open > 0 {
		wrong = append(wrong, fmt.Sprintf("%d builds have not ended", open))
	}
	logs, err := f.checkLogs(ctx)
	if err != nil {
		return nil, "", err
	}
	wrong = append(wrong, logs...)
	builds, picks := f.History.Len()
	var ends string
	err = f.DB.QueryRow(ctx, `SELECT string_agg(n || ' ' || status, ', ' ORDER BY status)
		FROM (SELECT status, count(*) AS n FROM casq.builds GROUP BY status) AS s`).Scan(&ends)
	f.mu.Lock()
	defer f.mu.Unlock()
	return wrong, fmt.Sprintf("%d builds were picked %d times, %d times the machine died; they are %s", builds, picks, f.died, ends), err
}

// checkLogs compares the logs that are there with their checksums, and those of the newest
// attempts with what their runners have sent: all of it, where the build has ended as its
// runner told.
func (f *Farm) checkLogs(ctx context.Context) (wrong []string, err error) {
	sent := make(map[string]*runnerclient.Job)
	f.mu.Lock()
	for token, j := range f.jobs {
		sum := sha256.Sum256([]byte(token))
		sent[hex.EncodeToString(sum[:])] = j
	}
	f.mu.Unlock()
	type log struct {
		Build, Received, Checksum int64
		Attempt                   int32
		Newest, Told              bool
		Hash                      string
	}
	rows, err := f.DB.Query(ctx, `SELECT t.build_id, t.received, t.checksum, t.attempt, t.attempt = b.attempt,
			b.status = 'success' OR coalesce(b.failure_reason, '') IN ('script_failure', 'unknown_failure'), coalesce(encode(b.token_hash, 'hex'), '')
		FROM casq.build_traces AS t JOIN casq.builds AS b ON b.id = t.build_id WHERE b.finished_at IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	logs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[log])
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	for _, l := range logs {
		var kept bytes.Buffer
		if err := runner.Trace(ctx, f.DB, l.Build, l.Attempt, 0, false, &kept); err != nil {
			return nil, err
		}
		if sum := crc32.ChecksumIEEE(kept.Bytes()); int64(sum) != l.Checksum || int64(kept.Len()) != l.Received {
			wrong = append(wrong, fmt.Sprintf("the log of build %d, attempt %d, has %d bytes with the checksum %d; it says %d and %d",
				l.Build, l.Attempt, kept.Len(), sum, l.Received, l.Checksum))
		}
		if j := sent[l.Hash]; l.Newest && l.Told && j != nil && !bytes.Equal(kept.Bytes(), j.Log()) {
			wrong = append(wrong, fmt.Sprintf("the log of build %d has %d bytes, its runner has sent %d others", l.Build, kept.Len(), len(j.Log())))
		}
	}
	return wrong, nil
}
