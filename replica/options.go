package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of [New]. The zero value is a primary without standbys.
type Options struct {
	// Standbys lists the standbys: see [URLs]. Nil is none: all reads go to the primary,
	// and no read asks the store.
	Standbys Discovery
	// Schema is the one that [Setup] made. Defaults to [DefaultSchema].
	Schema string
	// Store keeps positions of objects for other processes. Nil is none: a session then
	// knows what it wrote itself, and what its token says.
	Store Store
	// Strict refuses a commit whose objects cannot be noted in the store first
	// ([ErrStoreAway]). Otherwise such a commit is counted, and while this process alone is
	// cut off from the store, others may read from a standby what it wrote.
	Strict bool
	// Wait is how long a read waits for a standby before it takes the primary. Zero is
	// twice the standby's measured lag, at most 20 ms. Negative is never.
	Wait time.Duration
	// MaxWaiters is how many reads wait for one standby at a time; more take the primary.
	// Defaults to 64.
	MaxWaiters int
	// MaxLag is how many bytes of log a standby may be behind for reads that watch nothing.
	// Defaults to 8 MiB; negative is any.
	MaxLag int64
	// Monotonic sessions never read from a host that is behind what they have read.
	Monotonic bool
	// InBand proves a standby in the very transaction of the read, for a pooler that may
	// change the server between two statements. It costs little, but it does not use that
	// other reads have proven the same server.
	InBand bool
	// ProbeEvery is how often a standby is asked for its position when nobody waits for
	// it. Defaults to 1 s.
	ProbeEvery time.Duration
	// Connect opens the pool of a standby. Defaults to [pgxpool.New].
	Connect func(ctx context.Context, url string) (*pgxpool.Pool, error)
	// OnChoice is called with each choice of a host, before the read. It must be quick.
	OnChoice func(ctx context.Context, choice Choice)
	// Audit is the share of reads of watched objects from standbys, from 0 to 1, that are
	// sent to the primary as well, later, in the background, and compared: see [Audits]. It
	// needs a Store, which tells whether the objects were written meanwhile.
	Audit float64
	// Logger defaults to [slog.Default].
	Logger *slog.Logger
}

const longestWait = 20 * time.Millisecond

func (o Options) withDefaults() (Options, error) {
	o.Schema = cmp.Or(o.Schema, DefaultSchema)
	o.MaxWaiters = cmp.Or(o.MaxWaiters, 64)
	o.MaxLag = cmp.Or(o.MaxLag, 8<<20)
	o.ProbeEvery = cmp.Or(o.ProbeEvery, time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Connect == nil {
		o.Connect = pgxpool.New
	}
	var errs []error
	if o.MaxWaiters < 0 {
		errs = append(errs, fmt.Errorf("MaxWaiters is %d: it is a number of reads, 1 or more; Wait below zero turns waiting off", o.MaxWaiters))
	}
	if o.ProbeEvery < 0 {
		errs = append(errs, fmt.Errorf("ProbeEvery is %s: it is a time between two probes, above zero", o.ProbeEvery))
	}
	if o.Strict && o.Store == nil {
		errs = append(errs, errors.New("option Strict is set without a Store: there is nothing to be strict about"))
	}
	if o.Audit < 0 || o.Audit > 1 || o.Audit > 0 && o.Store == nil {
		errs = append(errs, fmt.Errorf("option Audit is %v: it is a share from 0 to 1, and above 0 it needs a Store, which tells who wrote meanwhile", o.Audit))
	}
	if o.Monotonic && o.InBand {
		errs = append(errs, errors.New("options Monotonic and InBand exclude each other: behind a pooler that changes servers it is not known which one was read"))
	}
	return o, errors.Join(errs...)
}

// Discovery returns the connection strings of the standbys, and after how long to
// ask again; zero is never. It is called while the program runs: what it returns is
// added, and what it no longer returns drains. An error leaves what was known.
type Discovery func(ctx context.Context) (urls []string, again time.Duration, err error)

// URLs are standbys that stay the same.
func URLs(urls ...string) Discovery {
	return func(context.Context) ([]string, time.Duration, error) { return urls, 0, nil }
}
