package runner

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"golang.org/x/time/rate"
)

// A runner asks every few seconds for each build that it may have at once, and again
// after each. Whoever has no token may try a few: each try is a question to the primary.
const (
	callsPerSecond = 100
	callsAtOnce    = 1000
	wrongPerSecond = 1
	wrongAtOnce    = 30
)

// errTooMany is answered with Retry-After, which runners heed.
var errTooMany = &problem{http.StatusTooManyRequests, "too many calls, try again later"}

// limits count calls by some key. Those that have not called for long are as new ones.
//
// mu guards byKey.
type limits struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	byKey map[string]*rate.Limiter
}

const mostLimited = 50_000

func newLimits(perSecond rate.Limit, burst int) *limits {
	return &limits{rate: perSecond, burst: burst, byKey: make(map[string]*rate.Limiter)}
}

func (l *limits) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.byKey[key]
	if limiter == nil {
		if len(l.byKey) >= mostLimited {
			clear(l.byKey)
		}
		limiter = rate.NewLimiter(l.rate, l.burst)
		l.byKey[key] = limiter
	}
	return limiter
}

// valid are tokens that were right the last time, by their hashes: what others at their
// address try does not keep them waiting.
//
// mu guards hashes.
type valid struct {
	mu     sync.Mutex
	hashes map[[32]byte]struct{}
}

func (v *valid) has(hash [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, there := v.hashes[hash]
	return there
}

func (v *valid) set(hash [32]byte, right bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !right:
		delete(v.hashes, hash)
		return
	case v.hashes == nil || len(v.hashes) >= mostLimited:
		v.hashes = make(map[[32]byte]struct{})
	}
	v.hashes[hash] = struct{}{}
}

// admit returns the runner that calls, as identify finds it. An address from which many
// wrong tokens came waits; so does a token that calls too often.
func (c *Coordinator) admit(r *http.Request, token string, identify func(context.Context, string) (identity, error)) (identity, error) {
	if token == "" {
		return identity{}, errForbidden
	}
	wrong := c.wrong.of(addressOf(r))
	hash := [32]byte(hashOf(token))
	if !c.valid.has(hash) && wrong.Tokens() < 1 {
		return identity{}, errTooMany
	}
	i, err := identify(r.Context(), token)
	switch {
	case errors.Is(err, errRefused):
		wrong.Allow()
		c.valid.set(hash, false)
		return i, err
	case err != nil:
		return i, err
	}
	c.valid.set(hash, true)
	if !c.calls.of(string(i.hash[:])).Allow() {
		return i, errTooMany
	}
	return i, nil
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
