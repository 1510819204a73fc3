package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// DefaultTTL is how long a lease lasts that is not renewed.
const DefaultTTL = 30 * time.Second

// mostTimeout bounds one attempt: a Redis that is there answers in a ms.
const mostTimeout = 2 * time.Second

var (
	// ErrHeld says that another process has the lease; the error is a [*HeldError].
	ErrHeld = errors.New("lease is held by another process")

	// ErrLost says that the lease is not one's own any more.
	ErrLost = errors.New("lease is lost")

	// ErrUnknown says that Redis did not say which process has the lease, or said it too
	// late: it may have been taken, and is not to be relied on.
	ErrUnknown = errors.New("redis does not tell which process has the lease")

	// ErrNoRedis is [ErrUnknown] where no Redis is configured.
	ErrNoRedis = fmt.Errorf("%w: no redis is configured", ErrUnknown)
)

// HeldError is [ErrHeld] with what a denied process may want to know.
type HeldError struct {
	Name      string
	Holder    string        // the other's id
	ExpiresIn time.Duration // unless the other renews it
}

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("lease %s is held by %s for another %s", e.Name, e.Holder, e.ExpiresIn)
}

// Is makes it an [ErrHeld].
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Config of a [Leaser].
type Config struct {
	// Client may be nil: no lease can be obtained then, see [ErrNoRedis].
	Client redis.UniversalClient
	TTL    time.Duration // defaults to [DefaultTTL]
}

// Leaser obtains leases, in the name of an id of its own. It obtains each name
// for one holder at a time: what it asks for again it gets again.
type Leaser struct {
	client  redis.UniversalClient
	ttl     time.Duration
	timeout time.Duration
	id      string
}

// New returns a leaser. It does not connect.
func New(cfg Config) *Leaser {
	ttl := cmp.Or(cfg.TTL, DefaultTTL)
	return &Leaser{client: cfg.Client, ttl: ttl, timeout: min(ttl/3, mostTimeout), id: newID()}
}

// newID is a name that tells an operator which process it is, and that no other has:
// a pid alone is used again, by another container at the same time.
func newID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), strings.ToLower(rand.Text()[:8]))
}

// ID is the id of this leaser's leases: host, pid and a random part.
func (l *Leaser) ID() string { return l.id }

// TTL is how long a lease lasts that is not renewed.
func (l *Leaser) TTL() time.Duration { return l.ttl }

// Obtain takes the lease of that name, and keeps it until it is released or
// lost. Errors: [ErrHeld], as a [*HeldError]; else [ErrUnknown].
//
// What the lease has to tell later on goes to logger.
func (l *Leaser) Obtain(ctx context.Context, name string, logger *slog.Logger) (*Lease, error) {
	if l.client == nil {
		return nil, ErrNoRedis
	}
	began := time.Now()
	if _, err := l.take(ctx, name); errors.Is(err, ErrHeld) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	// It was ours from somewhere after began on; Redis counts from then, we
	// from began.
	expires := began.Add(l.ttl)
	if !time.Now().Before(expires) {
		return nil, fmt.Errorf("%w: it took %s to obtain lease %s, which lasts %s", ErrUnknown, time.Since(began), name, l.ttl)
	}
	return l.keep(name, expires, logger), nil
}

// Assume is for a caller that knows otherwise that no other process has it, while
// Redis did not tell. The lease is tried for in the background, and lost when
// it turns out to be another's. It returns nil where no Redis is configured.
func (l *Leaser) Assume(name string, logger *slog.Logger) *Lease {
	if l.client == nil {
		return nil
	}
	return l.keep(name, time.Time{}, logger)
}
