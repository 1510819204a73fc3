package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"casq/internal/database"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// application writes as one does that uses the sites: bytes first, then the row.
type application struct {
	seed    uint64
	addr    string // where the site that is primary serves its files
	changes atomic.Int64
}

// writers have keys of their own each.
const (
	writers      = 3
	filesOfOne   = 60
	projectCount = 12
)

// write writes until ctx is done, or the database is gone.
func (a *application) write(ctx context.Context, db *pgxpool.Pool, files, repositories string) error {
	group, ctx := errgroup.WithContext(ctx)
	for n := range uint64(writers) {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(a.seed, n))
			for ctx.Err() == nil {
				key := fmt.Sprintf("%d/%d.txt", n, random.IntN(filesOfOne))
				err := a.change(ctx, db, files, key, random)
				if gone(ctx, err) {
					return nil
				}
				if err != nil {
					return err
				}
				_ = pause.For(ctx, time.Duration(random.IntN(60))*time.Millisecond)
			}
			return nil
		})
	}
	group.Go(func() error {
		random := rand.New(rand.NewPCG(a.seed, writers))
		for ctx.Err() == nil {
			err := a.push(ctx, db, repositories, fmt.Sprintf("group/%d.git", random.IntN(projectCount)))
			if gone(ctx, err) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// gone tells whether an error is that of a site which was taken away.
func gone(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, os.ErrNotExist) || !database.Answered(err))
}

// change writes a file, or deletes it. Of one in twenty the bytes never come.
func (a *application) change(ctx context.Context, db *pgxpool.Pool, files, key string, random *rand.Rand) error {
	defer a.changes.Add(1)
	at := filepath.Join(files, key)
	switch n := random.IntN(20); {
	case n < 3:
		if _, err := db.Exec(ctx, "DELETE FROM uploads WHERE path = $1", key); err != nil {
			return err
		}
		if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	case n == 3:
		return a.row(ctx, db, fmt.Sprintf("never/%d.txt", random.IntN(5)), "never")
	}
	content := fmt.Sprintf("%s %d %d\n", key, a.changes.Load(), random.Uint64())
	if err := a.put(at, content); err != nil {
		return err
	}
	return a.row(ctx, db, key, content)
}

// put writes a file as many do: under another name first.
func (a *application) put(at, content string) error {
	if _, err := os.Stat(filepath.Dir(filepath.Dir(at))); err != nil {
		return err // the site is gone: it is not made again
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at+".new", []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(at+".new", at)
}

func (a *application) row(ctx context.Context, db *pgxpool.Pool, key, content string) error {
	sum := sha256.Sum256([]byte(content))
	_, err := db.Exec(ctx, `INSERT INTO uploads VALUES ($1, $2, $3)
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`, key, len(content), hex.EncodeToString(sum[:]))
	return err
}

// push makes a commit in a repository, which is made first where there is none.
func (a *application) push(ctx context.Context, db *pgxpool.Pool, repositories, key string) error {
	defer a.changes.Add(1)
	dir := filepath.Join(repositories, key)
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(repositories); err != nil {
			return err
		}
		if _, err := git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", dir); err != nil {
			return err
		}
	}
	tree, err := git(ctx, dir, "hash-object", "-w", "-t", "tree", "/dev/null")
	if err != nil {
		return err
	}
	args := []string{"commit-tree", tree, "-m", fmt.Sprint(a.changes.Load())}
	if parent, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "refs/heads/main"); err == nil {
		args = append(args, "-p", parent)
	}
	head, err := git(ctx, dir, args...)
	if err == nil {
		_, err = git(ctx, dir, "update-ref", "refs/heads/main", head)
	}
	if err == nil {
		_, err = db.Exec(ctx, "INSERT INTO projects VALUES ($1, $2) ON CONFLICT (path) DO UPDATE SET head = excluded.head", key, head)
	}
	return err
}

// git runs git as an application does. What fails because the site is gone is no answer of
// the database's.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// goOn writes at the new primary site.
func (a *application) goOn(ctx context.Context, db *pgxpool.Pool, files, repositories string) error {
	for n := range 20 {
		key, content := fmt.Sprintf("after/%d.txt", n), fmt.Sprintf("after %d\n", n)
		if err := errors.Join(a.put(filepath.Join(files, key), content), a.row(ctx, db, key, content)); err != nil {
			return err
		}
	}
	for n := range 3 {
		if err := a.push(ctx, db, repositories, fmt.Sprintf("group/%d.git", n)); err != nil {
			return err
		}
	}
	return nil
}
