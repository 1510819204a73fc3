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

// guarded calls f, which tells whether a token is one. An address from which many wrong
// tokens came has to wait, but for tokens that were right the last time: many good runners
// may have one address with somebody who tries.
func (c *Coordinator) guarded(r *http.Request, token string, f func() error) error {
	wrong, hash := c.wrong.of(addressOf(r)), [32]byte(hashOf(token))
	known := c.valid.has(hash)
	if !known && wrong.Tokens() < 1 {
		return errTooMany
	}
	err := f()
	switch {
	case err == nil:
		c.valid.set(hash, true)
	case errors.Is(err, errRefused), errors.Is(err, errForbidden), errors.Is(err, errUnauthorized), errors.Is(err, errNotFound):
		if !known { // of a job that was given to another it is no try
			wrong.Allow()
		}
		c.valid.set(hash, false)
	}
	return err
}

// admit returns the runner that calls, as identify finds it. A token that calls too often
// has to wait.
func (c *Coordinator) admit(r *http.Request, token string, identify func(context.Context, string) (identity, error)) (i identity, err error) {
	if token == "" {
		return i, errForbidden
	}
	err = c.guarded(r, token, func() (err error) {
		i, err = identify(r.Context(), token)
		return err
	})
	if err == nil && !c.calls.of(string(i.hash[:])).Allow() {
		err = errTooMany
	}
	return i, err
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
