package buffer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed apply.lua
	applyLua string
	//go:embed freeze.lua
	freezeLua string
	//go:embed drop.lua
	dropLua string
	//go:embed reset.lua
	resetLua string
	//go:embed read.lua
	readLua string

	// ApplyScript is apply.lua: each is told of at the head of its file.
	ApplyScript = redis.NewScript(applyLua)
	// FreezeScript is freeze.lua.
	FreezeScript = redis.NewScript(freezeLua)
	// DropScript is drop.lua.
	DropScript = redis.NewScript(dropLua)
	// ResetScript is reset.lua.
	ResetScript = redis.NewScript(resetLua)
	// ReadScript is read.lua.
	ReadScript = redis.NewScript(readLua)
)

// AnswerIn is how long Redis may take. It bounds all that is done about a call:
// on a Cluster go-redis asks a server that does not answer four times, for 3 s
// each.
const AnswerIn = 3 * time.Second

// run executes a script. One that Redis does not know is sent to it.
func (b *Buffer) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, AnswerIn)
	defer cancel()
	reply, err := script.Run(ctx, b.redis, keys, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%w: %w", ErrRedis, err)
	}
	return reply, nil
}

// call is a script's run on one shard.
type call struct {
	shard int
	args  []any
}

// pipeline executes a script on several shards, in one round trip to each server.
// Each reply has an error of its own: on a Cluster some servers may be down. An
// error leaves it open whether the script was run.
func (b *Buffer) pipeline(ctx context.Context, script *redis.Script, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, AnswerIn)
	defer cancel()
	replies := b.send(ctx, script.EvalSha, calls)
	var again []call
	var at []int
	for i, reply := range replies {
		// Sent to those that asked for it, along with the call. To load it
		// into a Cluster would fail while any replica is down.
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			again, at = append(again, calls[i]), append(at, i)
		}
	}
	for i, reply := range b.send(ctx, script.Eval, again) {
		replies[at[i]] = reply
	}
	return replies
}

// send is [Buffer.pipeline] without a second try.
func (b *Buffer) send(ctx context.Context, script func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd, calls []call) []*redis.Cmd {
	replies := make([]*redis.Cmd, 0, len(calls))
	_, _ = b.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range calls {
			replies = append(replies, script(ctx, p, b.Keys(c.shard), c.args...))
		}
		return nil
	}) // its error is one of the replies'
	return replies
}
