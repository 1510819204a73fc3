package runnerclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"casq/internal/pause"
)

// ErrRefused says that the coordinator knows no such runner, or no such attempt any more:
// 403, and 404 to a state.
var ErrRefused = errors.New("the coordinator refuses it")

// ErrNoBuild says that the coordinator knows no such build: 404. That ends nothing until the
// build's own end is told.
var ErrNoBuild = errors.New("the coordinator knows no such build")

// ErrUnavailable says that all tries of a call are used up.
var ErrUnavailable = errors.New("the coordinator does not answer")

// Process is one process of a runner, which may have any number of builds at once.
type Process struct {
	Token, System string
	// Coordinators are the URLs of a coordinator's processes. Calls go to one after the
	// other: none of them knows more than the others.
	Coordinators []string
	HTTP         *http.Client
	// Requests is how many requests for builds there may be at once. Defaults to 1.
	Requests int
	// Tries is how often a call is made, and Pause lies between the first two; it doubles.
	// A Retry-After is heeded, up to MostPause. Default to 5, 1 s and 1 min.
	Tries            int
	Pause, MostPause time.Duration
	// Piece is how many bytes of a log one call brings at most. Defaults to 1 MiB.
	Piece int

	mu      sync.Mutex // guards the rest
	told    string     // the last update of any answer
	calls   int
	room    float64 // how many requests there may be at present; 0: as many as Requests
	asking  int
	changed chan struct{} // closed when asking is less, or room more
}

// Told is the last update that the process was told.
func (p *Process) Told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

// Room is how many requests for builds there may be at present.
func (p *Process) Room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most()
}

func (p *Process) most() int {
	if p.room == 0 {
		p.room = float64(max(p.Requests, 1))
	}
	return int(p.room)
}

// Request asks for a build, once; nil when there was none. Where as many requests wait as
// there may be at once it waits for one of them first.
//
// Errors: [ErrRefused], [ErrUnavailable].
func (p *Process) Request(ctx context.Context) (*Job, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{
		"token": p.Token, "system_id": p.System, "last_update": p.Told(),
		"info": map[string]any{"name": "runnerclient", "executor": "none", "features": map[string]bool{"cancelable": true}},
	})
	if err != nil {
		return nil, err
	}
	a, err := p.try(ctx, call{method: http.MethodPost, path: "/jobs/request", contentType: "application/json", body: fixed(body)})
	p.leave(a.status)
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusNoContent:
		return nil, nil
	case a.status == http.StatusForbidden:
		return nil, ErrRefused
	case a.status != http.StatusCreated:
		return nil, fmt.Errorf("ask for a build: %d %s", a.status, a.body)
	}
	j := &Job{process: p, Status: "running"}
	return j, json.Unmarshal(a.body, j)
}

// enter waits until there may be one request more.
func (p *Process) enter(ctx context.Context) error {
	for {
		p.mu.Lock()
		if p.asking < p.most() {
			p.asking++
			p.mu.Unlock()
			return nil
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave ends a request. A build that came lets there be more of them, none makes them
// fewer, and trouble half as many.
func (p *Process) leave(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking--
	switch status {
	case http.StatusCreated:
		p.room *= 1.1
	case http.StatusNoContent:
		p.room *= 0.95
	default:
		p.room /= 2
	}
	p.room = min(max(p.room, 1), float64(max(p.Requests, 1)))
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// call is what is sent, as often as it is tried.
type call struct {
	method, path, contentType string
	header                    map[string]string
	body                      func() (io.Reader, error) // nil: none
}

func fixed(content []byte) func() (io.Reader, error) {
	return func() (io.Reader, error) { return bytes.NewReader(content), nil }
}

type answer struct {
	status int
	header http.Header
	body   []byte
	again  bool // it was made before, and may have been taken in then
}

// try makes a call until it has an answer that is not to be tried again.
func (p *Process) try(ctx context.Context, c call) (answer, error) {
	wait := cmp.Or(p.Pause, time.Second)
	var failed error
	for range cmp.Or(p.Tries, 5) {
		a, err := p.once(ctx, c)
		a.again = failed != nil
		if err == nil && !passes(a.status) {
			return a, nil
		}
		if ctx.Err() != nil {
			return a, context.Cause(ctx)
		}
		if err == nil {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		failed = err
		after, none := strconv.Atoi(a.header.Get("Retry-After"))
		if none == nil {
			wait = time.Duration(after) * time.Second
		}
		if err := pause.For(ctx, min(wait, cmp.Or(p.MostPause, time.Minute))); err != nil {
			return a, err
		}
		wait *= 2
	}
	return answer{}, fmt.Errorf("%s %s: %w: %w", c.method, c.path, ErrUnavailable, failed)
}

// passes tells whether an answer is one that a runner tries again after.
func passes(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

func (p *Process) once(ctx context.Context, c call) (a answer, err error) {
	var body io.Reader
	if c.body != nil {
		if body, err = c.body(); err != nil {
			return a, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, c.method, p.coordinator()+"/api/v4"+c.path, body)
	if err != nil {
		return a, err
	}
	request.Header.Set("Content-Type", c.contentType)
	for name, value := range c.header {
		request.Header.Set(name, value)
	}
	response, err := p.HTTP.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	p.hear(a.header)
	a.body, err = io.ReadAll(response.Body)
	return a, err
}

func (p *Process) coordinator() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return p.Coordinators[p.calls%len(p.Coordinators)]
}

// hear keeps the last update, of whatever answer.
func (p *Process) hear(header http.Header) {
	if update := header.Get("X-GitLab-Last-Update"); update != "" {
		p.mu.Lock()
		p.told = update
		p.mu.Unlock()
	}
}
