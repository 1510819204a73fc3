package shellrunner

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// log sends what a script writes. What it is answered may be that the build is canceled.
//
// mu guards job.sent.
type log struct {
	job    *job
	ctx    context.Context
	cancel context.CancelCauseFunc
	deaf   bool // after_script is not canceled

	mu sync.Mutex
}

// Write implements [io.Writer].
func (l *log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(text), l.job.append(context.WithoutCancel(l.ctx), text)
}

// reportEvery is how often a runner says that a silent build is alive.
const reportEvery = 50 * time.Millisecond

// report says so, and asks whether the build is canceled, until it is stopped.
func (l *log) report() (stop func()) {
	ctx, cancel := context.WithCancel(l.ctx)
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(reportEvery)
		defer ticker.Stop()
		for !l.deaf {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_, _, header, err := l.job.runner.call(ctx, http.MethodPut, fmt.Sprintf("/api/v4/jobs/%d", l.job.ID), l.job.Token,
				map[string]any{"token": l.job.Token, "state": "running"})
			if status := header.Get("Job-Status"); err == nil && (status == "canceling" || status == "canceled") {
				l.cancel(errCanceled)
			}
		}
	})
	return func() { cancel(); group.Wait() }
}

// append adds to the build's log.
func (j *job) append(ctx context.Context, text []byte) error {
	for _, secret := range j.masked {
		text = bytes.ReplaceAll(text, []byte(secret), []byte("[MASKED]"))
	}
	status, answer, _, err := j.runner.send(ctx, http.MethodPatch, fmt.Sprintf("/api/v4/jobs/%d/trace", j.ID), j.Token,
		strings.NewReader(string(text)), map[string]string{
			"Content-Type": "text/plain", "Content-Range": fmt.Sprintf("%d-%d", j.sent, j.sent+len(text)-1),
		})
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("sent a log of build %d and got %d %s", j.ID, status, answer)
	}
	j.sent += len(text)
	return err
}
