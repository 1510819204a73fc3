package redisstore

import (
	"context"
	_ "embed"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

//go:embed identity.lua
var identityLua string

//go:embed read.lua
var readLua string

//go:embed begin.lua
var beginLua string

//go:embed end.lua
var endLua string

//go:embed raise.lua
var raiseLua string

//go:embed sweep.lua
var sweepLua string

var (
	readScript  = redis.NewScript(identityLua + readLua)
	beginScript = redis.NewScript(beginLua)
	endScript   = redis.NewScript(endLua)
	raiseScript = redis.NewScript(identityLua + raiseLua)
	sweepScript = redis.NewScript(sweepLua)
)

// call is a script on one or more tags.
type call struct {
	tag    int // of a call on one
	script *redis.Script
	keys   []string
	args   []any
	cmd    *redis.Cmd
}

// send runs calls, all at once. On a Cluster those of a tag are sent by themselves: a
// pipeline over several nodes fails as a whole when the context ends for one of them.
func (s *Store) send(ctx context.Context, calls []*call) {
	if !s.cluster {
		s.sendInTime(ctx, calls)
		return
	}
	var groups [tags][]*call
	for _, c := range calls {
		groups[c.tag] = append(groups[c.tag], c)
	}
	var all sync.WaitGroup
	for _, group := range groups {
		if len(group) > 0 {
			all.Go(func() { s.sendInTime(ctx, group) })
		}
	}
	all.Wait()
}

// sendInTime sends calls within the store's time-out.
func (s *Store) sendInTime(ctx context.Context, calls []*call) {
	sent := make([]*call, len(calls))
	for i, c := range calls {
		copied := *c
		sent[i] = &copied
	}
	err := within(ctx, s, func(ctx context.Context) error { s.sendAll(ctx, sent); return nil })
	for i, c := range calls {
		if err == nil {
			c.cmd = sent[i].cmd
		} else { // The others are left to the client.
			c.cmd = redis.NewCmd(ctx)
			c.cmd.SetErr(err)
		}
	}
}

// within calls f, which must be done with in the store's time-out. With a client that
// heeds its own time-outs only, f is left to those: it must not touch what its
// caller goes on with.
func within(ctx context.Context, s *Store, f func(context.Context) error) error {
	if s.heedsContext {
		return f(s.bound.Context(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heedsContext says whether a client's calls end with their context.
func heedsContext(client redis.UniversalClient) bool {
	switch client := client.(type) {
	case *redis.Client:
		return client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return client.Options().ContextTimeoutEnabled
	default:
		return false
	}
}

// sendAll runs calls at once: one alone as it is, several as a pipeline. What a
// server does not know by its hash, since it was restarted, is sent again as text.
// Errors are those of the calls.
func (s *Store) sendAll(ctx context.Context, calls []*call) {
	s.pipeline(ctx, calls, func(pipe redis.Cmdable, c *call) *redis.Cmd {
		return c.script.EvalSha(ctx, pipe, c.keys, c.args...)
	})
	var unknown []*call
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) > 0 {
		s.pipeline(ctx, unknown, func(pipe redis.Cmdable, c *call) *redis.Cmd {
			return c.script.Eval(ctx, pipe, c.keys, c.args...)
		})
	}
}

func (s *Store) pipeline(ctx context.Context, calls []*call, run func(redis.Cmdable, *call) *redis.Cmd) {
	if len(calls) == 1 {
		calls[0].cmd = run(s.client, calls[0])
		return
	}
	pipe := s.client.Pipeline()
	for _, c := range calls {
		c.cmd = run(pipe, c)
	}
	_, _ = pipe.Exec(ctx) // Each has its own error.
}
