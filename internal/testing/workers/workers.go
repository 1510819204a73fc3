package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"casq/internal/testing/child"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Config of a [Group].
type Config struct {
	Program  string        // that calls [Child]
	DB       *pgxpool.Pool // see [Prepare]
	URL      string        // of the same database, for the workers
	RedisURL string
	Lease    time.Duration
	// Told is called with what cursor and lease log, one record at a time, but
	// for debugging. May be nil.
	Told func(Entry)
}

// Group is a number of workers, which have names. Its methods may be called
// concurrently.
//
// mu guards the maps; telling is held while Config.Told is called.
type Group struct {
	cfg     Config
	telling sync.Mutex

	mu      sync.Mutex
	workers map[string]*child.Process
	names   map[int]string       // by pid, also of those that have ended
	knows   map[string]time.Time // when a worker last learnt whose the log is
}

// New returns a group without workers.
func New(cfg Config) *Group {
	if cfg.Told == nil {
		cfg.Told = func(Entry) {}
	}
	return &Group{
		cfg: cfg, workers: make(map[string]*child.Process),
		names: make(map[int]string), knows: make(map[string]time.Time),
	}
}

// Start starts a worker, under a name that no worker has which still runs.
func (c *Group) Start(name string) error {
	encoded, err := json.Marshal(spec{Name: name, URL: c.cfg.URL, RedisURL: c.cfg.RedisURL, Lease: c.cfg.Lease})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := launch(c.cfg.Program, string(encoded), func(line []byte) { c.tell(name, line) })
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.workers[name], c.names[p.Pid()] = p, name
	return nil
}

func (c *Group) tell(name string, line []byte) {
	e, ok := parse(name, line)
	if !ok {
		return
	}
	if e.Denied() || e.Obtained() {
		c.mu.Lock()
		c.knows[name] = e.At
		c.mu.Unlock()
	}
	if e.Level >= slog.LevelInfo {
		c.telling.Lock()
		defer c.telling.Unlock()
		c.cfg.Told(e)
	}
}

// worker returns the process of that name.
func (c *Group) worker(name string) (*child.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.workers[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("find worker %q: there is none", name)
}

// Signal sends a worker a signal.
func (c *Group) Signal(name string, s syscall.Signal) error {
	p, err := c.worker(name)
	if err != nil {
		return err
	}
	return p.Signal(s)
}

// Ended returns when a worker has ended, and how: nil when it stopped in order.
func (c *Group) Ended(ctx context.Context, name string) error {
	p, err := c.worker(name)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait until %s has ended: %w", name, context.Cause(ctx))
	case <-p.Ended():
		return p.Err()
	}
}

// Name is the name of the worker that a holder's id belongs to, or the id.
func (c *Group) Name(holder string) string {
	parts := strings.Split(holder, "/")
	if len(parts) < 2 {
		return holder
	}
	pid, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil {
		return holder
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := c.names[pid]; name != "" {
		return name
	}
	return holder
}

// Holder is who follows the log.
type Holder struct {
	Name  string
	Epoch int64
}

// Holder returns who follows the log.
func (c *Group) Holder(ctx context.Context) (h Holder, err error) {
	var id string
	err = c.cfg.DB.QueryRow(ctx, "SELECT holder, epoch FROM casq.cursors WHERE name = $1", cursorName).Scan(&id, &h.Epoch)
	if err != nil {
		return h, fmt.Errorf("find out who follows the log: %w", err)
	}
	h.Name = c.Name(id)
	return h, nil
}

// TakenOver returns when a batch of an epoch above that one is committed, and
// by whom.
func (c *Group) TakenOver(ctx context.Context, epoch int64) (name string, err error) {
	err = poll(ctx, "another has committed a batch", func() (bool, error) {
		err := c.cfg.DB.QueryRow(ctx, "SELECT coalesce(min(worker), '') FROM workers.recorded WHERE epoch > $1", epoch).Scan(&name)
		return name != "", err
	})
	return name, err
}

// Learnt returns when a worker has learnt, after since, whose the log is.
func (c *Group) Learnt(ctx context.Context, name string, since time.Time) error {
	return poll(ctx, name+" knows who follows the log", func() (bool, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.knows[name].After(since), nil
	})
}

// Tally waits until each event was recorded, for as long as ctx lets it, and
// counts. Nothing is written any more.
func (c *Group) Tally(ctx context.Context) (Tally, error) {
	err := poll(ctx, "each event was applied", func() (bool, error) {
		var pending bool
		err := c.cfg.DB.QueryRow(ctx, pendingSQL).Scan(&pending)
		return !pending, err
	})
	if err != nil && ctx.Err() == nil {
		return Tally{}, err
	}
	return count(context.WithoutCancel(ctx), c.cfg.DB)
}

// Close ends all workers that are there.
func (c *Group) Close() {
	c.mu.Lock()
	workers := c.workers
	c.workers = make(map[string]*child.Process)
	c.mu.Unlock()
	for _, p := range workers {
		p.Kill()
	}
}

// pollEvery is what a measured time may be too long by.
const pollEvery = 10 * time.Millisecond

// poll returns when a condition is met.
func poll(ctx context.Context, what string, met func() (bool, error)) error {
	timer := time.NewTicker(pollEvery)
	defer timer.Stop()
	for {
		done, err := met()
		if ctx.Err() != nil {
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}
