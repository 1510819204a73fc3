package counter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// answerIn is how long Redis may take. It bounds all that is done about a call:
// on a Cluster go-redis asks a server that does not answer four times, for 3 s
// each.
const answerIn = 3 * time.Second

// run executes a script. One that Redis does not know is sent to it.
func run(ctx context.Context, c redis.Scripter, script *redis.Script, keys []string, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	reply, err := script.Run(ctx, c, keys, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%w: %w", errRedis, err)
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
func (b *buffer) pipeline(ctx context.Context, script *redis.Script, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
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

// send is [buffer.pipeline] without a second try.
func (b *buffer) send(ctx context.Context, script func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd, calls []call) []*redis.Cmd {
	replies := make([]*redis.Cmd, 0, len(calls))
	_, _ = b.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range calls {
			replies = append(replies, script(ctx, p, b.keys(c.shard), c.args...))
		}
		return nil
	}) // its error is one of the replies'
	return replies
}
