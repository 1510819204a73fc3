package runnerclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// errLost is what becomes of an answer that does not arrive.
var errLost = errors.New("the answer was lost")

// Rough is a network that loses answers, a proxy that is too busy, and one that spoils
// pieces of logs.
type Rough struct {
	Base http.RoundTripper
	// Of so many calls one has this happen to it; 0: none. Answers with a build are lost
	// only one in ten times as often: what is in them waits for a deadline.
	Lost, Busy, Spoilt int
	// Statuses counts the answers that came, by status.
	Statuses [600]atomic.Int64

	mu     sync.Mutex // guards the rest
	rng    *rand.Rand
	spoilt map[string]bool
}

// RoundTrip implements [http.RoundTripper].
func (r *Rough) RoundTrip(request *http.Request) (*http.Response, error) {
	request, err := r.spoil(request)
	if err != nil {
		return nil, err
	}
	if r.happens(r.Busy) {
		if request.Body != nil {
			_ = request.Body.Close() // as a transport has to
		}
		r.Statuses[http.StatusServiceUnavailable].Add(1)
		return &http.Response{
			StatusCode: http.StatusServiceUnavailable, ProtoMajor: 1, ProtoMinor: 1, Request: request,
			Header: http.Header{"Retry-After": {"1"}}, Body: http.NoBody,
		}, nil
	}
	response, err := r.Base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	r.Statuses[response.StatusCode].Add(1)
	lost := r.Lost
	if strings.HasSuffix(request.URL.Path, "/request") {
		lost *= 10
	}
	if r.happens(lost) {
		return nil, errors.Join(errLost, response.Body.Close())
	}
	return response, nil
}

// spoil changes a byte of some pieces of logs, of each log once: what a failover
// loses of it has to be sent again, too.
func (r *Rough) spoil(request *http.Request) (*http.Request, error) {
	if request.Method != http.MethodPatch || !r.happens(r.Spoilt) || !r.first(request.URL.Path) {
		return request, nil
	}
	piece, err := io.ReadAll(request.Body)
	if err = errors.Join(err, request.Body.Close()); err != nil {
		return nil, fmt.Errorf("read what is to be spoilt: %w", err)
	}
	piece[0] ^= 1
	spoilt := request.Clone(request.Context())
	spoilt.Body = io.NopCloser(bytes.NewReader(piece))
	return spoilt, nil
}

func (r *Rough) happens(oneIn int) bool {
	if oneIn == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rng == nil {
		r.rng = rand.New(rand.NewPCG(1, 2))
	}
	return r.rng.IntN(oneIn) == 0
}

// first tells whether a log was not spoilt before.
func (r *Rough) first(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spoilt == nil {
		r.spoilt = make(map[string]bool)
	}
	before := r.spoilt[path]
	r.spoilt[path] = true
	return !before
}
