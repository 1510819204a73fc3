package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// writer is the application. It does what an honest one does: bytes are in
// place before the commit of the row that names them, and go after the commit
// that takes the row away. When the answer to a commit is lost, or a server
// that was promoted lacks it, the row as it is then is the truth, and the bytes
// are made to be what it says. At the end the tables say what there is to be.
//
// Refs of a repository that go back so are told of by an event. A copy may have
// seen them meanwhile, and nothing in them says that they never were; of a file
// the row's checksum does.
type writer struct {
	db    *pgxpool.Pool
	files *fileStore
	repos *repoStore

	// gate is held for reading by each operation, and for writing by rebuild.
	gate  sync.RWMutex
	units resources

	committed, rolledBack, uncertain atomic.Int64
}

// errRollback is returned by a change that is not to be committed.
var errRollback = errors.New("roll back")

// run commits operations with n writers at once, and one whose transactions
// stay open for seconds, until stop is closed.
func (w *writer) run(ctx context.Context, cfg config, stop <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range cfg.writers {
		r := rand.New(rand.NewPCG(cfg.seed, uint64(i+1)))
		group.Go(func() error { return w.loop(ctx, r, stop, cfg.pause, chooseOperation) })
	}
	r := rand.New(rand.NewPCG(cfg.seed, 0))
	group.Go(func() error {
		return w.loop(ctx, r, stop, cfg.pause, func(*rand.Rand) operation { return operation{"late", 1, late} })
	})
	return group.Wait()
}

func (w *writer) loop(ctx context.Context, r *rand.Rand, stop <-chan struct{}, pause time.Duration, choose func(*rand.Rand) operation) error {
	for {
		o := choose(r)
		if err := w.operate(ctx, r, o); err != nil {
			return fmt.Errorf("write (%s): %w", o.name, err)
		}
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (w *writer) operate(ctx context.Context, r *rand.Rand, o operation) error {
	w.gate.RLock()
	defer w.gate.RUnlock()
	return o.do(ctx, w, r)
}

// rebuild makes everything on disk what the tables say, while nobody writes. So does
// others with what is not the application's.
func (w *writer) rebuild(ctx context.Context, others func(context.Context) error) error {
	w.gate.Lock()
	defer w.gate.Unlock()
	if err := w.restore(ctx, allFiles(), allRepositories()); err != nil {
		return err
	}
	if err := w.insist(ctx, others); err != nil {
		return err
	}
	return w.tell(ctx, allRepositories())
}

// change is one transaction on resources whose units the caller holds, and what
// an honest application does after it, whatever became of it.
func (w *writer) change(ctx context.Context, files, repos []string, f func(tx pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, w.db, f)
	switch {
	case err == nil:
		w.committed.Add(1)
	case errors.Is(err, errRollback), database.Code(err) == deadlockDetected:
		w.rolledBack.Add(1)
	case lostConnection(err):
		w.uncertain.Add(1)
	default:
		return err
	}
	undone := err != nil
	if err := w.restore(ctx, files, repos); err != nil || !undone {
		return err
	}
	return w.tell(ctx, repos)
}

// tell appends an event for each repository that there is. It waits for the
// database.
func (w *writer) tell(ctx context.Context, repos []string) error {
	for len(repos) > 0 {
		_, err := w.db.Exec(ctx, "UPDATE repositories SET told = told + 1 WHERE path = ANY($1)", repos)
		if err == nil {
			return nil
		}
		if !mayRepeat(err) {
			return fmt.Errorf("tell of refs that went back: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
	return nil
}

// lostConnection tells whether an error is the end of a connection, or of a
// server.
func lostConnection(err error) bool {
	if code := database.Code(err); code != "" {
		// Operator intervention, connection exception, and a server that has
		// no more processes to give.
		return code[:2] == "57" || code[:2] == "08" || code[:2] == "53"
	}
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connectErr) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// retryPause is between two tries to ask a server that is not there.
const retryPause = 50 * time.Millisecond

// restore makes resources on disk what their rows say. It waits for the database.
func (w *writer) restore(ctx context.Context, files, repos []string) error {
	for {
		sums, refs, err := w.rows(ctx, files, repos)
		if err == nil {
			return w.place(ctx, files, repos, sums, refs)
		}
		if !lostConnection(err) {
			return fmt.Errorf("ask what there is: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// insist repeats what fails with the database.
func (w *writer) insist(ctx context.Context, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil || !lostConnection(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// rows asks for the rows of files and repositories.
func (w *writer) rows(ctx context.Context, files, repos []string) (sums map[string]string, refs map[string]map[string]string, err error) {
	sums, refs = make(map[string]string), make(map[string]map[string]string)
	var path, sum string
	rows, err := w.db.Query(ctx, "SELECT path, sha256 FROM artifacts WHERE path = ANY($1)", files)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&path, &sum}, func() error { sums[path] = sum; return nil })
	}
	if err != nil || len(repos) == 0 {
		return sums, refs, err
	}
	var text []byte
	rows, err = w.db.Query(ctx, "SELECT path, refs FROM repositories WHERE path = ANY($1)", repos)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&path, &text}, func() error {
			var r map[string]string
			err := json.Unmarshal(text, &r)
			refs[path] = r
			return err
		})
	}
	return sums, refs, err
}

// place is restore when the rows are known. What goes, goes first: it may be in
// the way of what comes. Of a flip the inside goes before the place itself.
func (w *writer) place(ctx context.Context, files, repos []string, sums map[string]string, refs map[string]map[string]string) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b string) int { return len(b) - len(a) })
	for _, gone := range []bool{true, false} {
		for _, path := range files {
			if (sums[path] == "") != gone {
				continue
			}
			if err := w.files.restore(path, sums[path]); err != nil {
				return fmt.Errorf("restore file %s: %w", path, err)
			}
		}
	}
	for _, path := range repos {
		if err := w.repos.restore(ctx, path, refs[path]); err != nil {
			return fmt.Errorf("restore repository %s: %w", path, err)
		}
	}
	return nil
}

// pick locks n resources of those that f names, any that nobody else works on,
// and returns them; fewer when too many are busy.
func (w *writer) pick(r *rand.Rand, n, of int, f func(int) string, toUnit func(string) string) (picked []string, release func()) {
	var releases []func()
	for _, i := range r.Perm(of) {
		if len(picked) == n {
			break
		}
		if release, ok := w.units.try(toUnit(f(i))); ok {
			picked, releases = append(picked, f(i)), append(releases, release)
		}
	}
	return picked, func() {
		for _, release := range releases {
			release()
		}
	}
}
