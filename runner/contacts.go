package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5/pgconn"
)

// contacts keeps who was heard of until it is written down: a request that finds nothing
// writes nothing.
//
// mu guards everything.
type contacts struct {
	mu       sync.Mutex
	managers map[managerKey]contact
	builds   map[int64]sign
	// since is when this process could hear: not before it began, and not while the
	// database was away, when it had nothing to answer.
	since time.Time
}

type managerKey struct {
	runner int64
	system string
}

type contact struct {
	at   time.Time
	info json.RawMessage
}

type sign struct {
	attempt int32
	at      time.Time
}

func newContacts() *contacts {
	return &contacts{managers: make(map[managerKey]contact), builds: make(map[int64]sign), since: time.Now()}
}

const mostContacts = 100_000

func (c *contacts) manager(runner int64, system string, info json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.managers) < mostContacts {
		c.managers[managerKey{runner, system}] = contact{time.Now(), info}
	}
}

func (c *contacts) build(id int64, attempt int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.builds[id]; s.attempt <= attempt && len(c.builds) < mostContacts {
		c.builds[id] = sign{attempt, time.Now()}
	}
}

// failed says that something failed just now: where the database was away, nobody could be
// heard until now.
func (c *contacts) failed(err error) {
	if !away(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
}

// away tells whether an error is about the way to the database, or says that it takes
// nothing in now. What it refuses for another reason it may refuse for ever.
func away(err error) bool {
	switch code := database.Code(err); {
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "25"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57"):
		return true
	case code != "":
		return false
	}
	_, network := errors.AsType[net.Error](err)
	return network || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// heardFor is for how long this process could hear without a break.
func (c *contacts) heardFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.since)
}

func (c *contacts) drain() (managers map[managerKey]contact, builds map[int64]sign) {
	c.mu.Lock()
	defer c.mu.Unlock()
	managers, builds = c.managers, c.builds
	c.managers, c.builds = make(map[managerKey]contact), make(map[int64]sign)
	return managers, builds
}

// writeContacts writes down who was heard of since the last time. What cannot be written
// is left: most of it is heard again.
func (c *Coordinator) writeContacts(ctx context.Context) error {
	managers, builds := c.contacts.drain()
	return errors.Join(c.writeSigns(ctx, builds), c.writeManagers(ctx, managers))
}

func (c *Coordinator) writeManagers(ctx context.Context, managers map[managerKey]contact) error {
	if len(managers) == 0 {
		return nil
	}
	var runners []int64
	var systems []string
	var infos []json.RawMessage
	var ago []float64
	for key, contact := range managers {
		runners, systems = append(runners, key.runner), append(systems, key.system)
		infos, ago = append(infos, contact.info), append(ago, time.Since(contact.at).Seconds())
	}
	if _, err := c.change(ctx, nil, buildSQL.Contacted, runners, systems, infos, ago); err != nil {
		return fmt.Errorf("write down %d runners' processes: %w", len(runners), err)
	}
	return nil
}

func (c *Coordinator) writeSigns(ctx context.Context, builds map[int64]sign) error {
	if len(builds) == 0 {
		return nil
	}
	var ids []int64
	var attempts []int32
	var ago []float64
	for id, sign := range builds {
		ids, attempts, ago = append(ids, id), append(attempts, sign.attempt), append(ago, time.Since(sign.at).Seconds())
	}
	if _, err := c.change(ctx, nil, buildSQL.Heard, ids, attempts, ago); err != nil {
		return fmt.Errorf("write down %d builds' signs of life: %w", len(ids), err)
	}
	return nil
}
