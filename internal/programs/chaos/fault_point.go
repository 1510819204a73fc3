package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"casq/internal/pause"
)

// points are where a worker can be stopped: between two steps of which one has
// an effect. A signal from outside hardly ever comes just there.
var points = []string{
	"batch:read", "batch:entered", "batch:applied",
	"work:fetched", "work:claimed",
	"begin:made", "copy:staged", "publish:before-rename", "publish:renamed", "remove:before-rename", "remove:renamed",
	"git:before-update-ref",
	"complete:locked", "complete:published", "complete:committed",
}

// runnerPoints are those of the workers at the primary.
var runnerPoints = []string{
	"in line", "grouped", "picked", "woken", "trace read", "finishing", "upload begun", "upload stored", "upload kept", "swept",
}

// target is a worker and a point that it will come to.
type target struct{ name, point string }

// anyTarget draws a worker and a point. Only who has a cursor comes to the
// points of batches: that is for the moment to say.
func anyTarget(r *rand.Rand) target {
	at := r.IntN(len(points) + len(runnerPoints))
	if at >= len(points) {
		return target{atPrimary[r.IntN(len(atPrimary))], runnerPoints[at-len(points)]}
	}
	t := target{workerName(r.IntN(followers)), points[at]}
	if strings.HasPrefix(t.point, "batch:") {
		t.name = ""
	}
	return t
}

func (t target) String() string { return cmp.Or(t.name, "the cursor's holder") + " at " + t.point }

func (t target) needs() []string {
	if t.name == "" {
		return collect(followers, workerName)
	}
	return []string{t.name}
}

// process finds the worker; nil when nobody holds the cursor.
func (t target) process(ctx context.Context, c *chaos) *process {
	if t.name != "" {
		return c.workers[t.name]
	}
	var pid int
	err := c.site.home.DB.QueryRow(ctx, "SELECT split_part(holder, '/', 2)::int FROM casq.cursors WHERE name = $1", recorderName).Scan(&pid)
	for i := range followers {
		if p := c.workers[workerName(i)]; err == nil && p.pid() == pid {
			return p
		}
	}
	c.journal.say("       nobody holds the cursor (%v)", err)
	return nil
}

// order is what a worker finds in its file of orders: at which point it is to
// signal itself. It takes the file away before it obeys.
func order(point string, s syscall.Signal) string { return fmt.Sprintf("%s %d", point, s) }

// pointPatience is how long a worker may take to come to a point; it may be one
// that has nothing to do there.
const pointPatience = 4 * time.Second

func killAtPoint(r *rand.Rand, _ config) injection {
	t := anyTarget(r)
	return injection{
		what:  fmt.Sprintf("kill %s", t),
		needs: t.needs(),
		run: func(ctx context.Context, c *chaos) error {
			p := t.process(ctx, c)
			if p == nil {
				return nil
			}
			ended := p.end()
			return p.obey(ctx, order(t.point, syscall.SIGKILL), func() bool {
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
		},
	}
}

func freezeAtPoint(r *rand.Rand, cfg config) injection {
	t, frozen := anyTarget(r), between(r, cfg.ttl+cfg.ttl/4, 3*cfg.ttl)
	return injection{
		what:  fmt.Sprintf("freeze %s for %s", t, frozen),
		needs: t.needs(),
		run: func(ctx context.Context, c *chaos) error {
			p := t.process(ctx, c)
			if p == nil {
				return nil
			}
			err := p.obey(ctx, order(t.point, syscall.SIGSTOP), p.frozen)
			if p.frozen() {
				err = errors.Join(err, pause.For(ctx, frozen))
				c.journal.say("       %s goes on", p.name)
			}
			p.signal(syscall.SIGCONT)
			return err
		},
	}
}

// obey gives a process an order and waits until it was done. An order that
// nobody has taken is taken back; one that was taken is waited for, since it
// will be obeyed, unless the process has ended meanwhile.
func (p *process) obey(ctx context.Context, text string, done func() bool) error {
	fresh := p.orderFile + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(fresh, p.orderFile); err != nil {
		return err
	}
	ended := p.end()
	for began := time.Now(); !done(); {
		if time.Since(began) > pointPatience {
			err := os.Remove(p.orderFile)
			if !errors.Is(err, fs.ErrNotExist) {
				p.journal.say("       %s did not come to it", p.name)
				return err
			}
		}
		select {
		case <-ended:
			// Whatever ended it: nobody is there to be stopped.
			return ignoreAbsent(os.Remove(p.orderFile))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// neverStarted is the end of a process that is not there.
var neverStarted = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// end is closed when the process that runs at present has ended.
func (p *process) end() <-chan struct{} {
	if running := p.now(); running != nil {
		return running.Ended()
	}
	return neverStarted
}

// pid is that of the process that runs at present; 0: none.
func (p *process) pid() int {
	if running := p.now(); running != nil {
		return running.Pid()
	}
	return 0
}

// frozen tells whether the process is stopped.
func (p *process) frozen() bool {
	pid := p.pid()
	return pid > 0 && stopped(pid)
}
