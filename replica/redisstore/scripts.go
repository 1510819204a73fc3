package redisstore

import (
	"context"
	_ "embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

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
	readScript  = redis.NewScript(readLua)
	beginScript = redis.NewScript(beginLua)
	endScript   = redis.NewScript(endLua)
	raiseScript = redis.NewScript(raiseLua)
	sweepScript = redis.NewScript(sweepLua)
)

// call is a script on one or more tags.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	cmd    *redis.Cmd
}

// send runs calls at once: one alone as it is, several as a pipeline, which on a
// Cluster is one for each node, all at the same time. What a server does not know
// by its hash, since it was restarted, is sent again as text. Errors are those of
// the calls.
func (s *Store) send(ctx context.Context, calls []*call) {
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
