package buffer_test

import (
	"context"
	"maps"
	"strconv"
	"testing"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/internal/testing/testredis"

	"github.com/redis/go-redis/v9"
)

// forgetful makes some calls of a pipeline look as if their server did not know the
// script, as one of a Cluster's that was promoted just now.
type forgetful struct{ calls []int }

type noScriptError struct{}

func (noScriptError) Error() string { return "NOSCRIPT No matching script." }
func (noScriptError) RedisError()   {}

func (forgetful) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (forgetful) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f forgetful) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "evalsha" {
			for _, i := range f.calls {
				cmds[i].SetErr(noScriptError{})
			}
		}
		return err
	}
}

// Where some servers do not know a script and others do, each shard has its own
// reply.
func TestScriptThatSomeServersDoNotKnow(t *testing.T) {
	t.Parallel()
	ctx, shards := t.Context(), tally.All(4)
	client := testredis.Client(t, testredis.Start(t))
	buf := buffer.New(client, "pipeline")
	for _, shard := range shards { // each stands elsewhere
		if _, err := buf.Reset(ctx, shard, buffer.Stamps{}, buffer.Stamp(strconv.Itoa(shard))); err != nil {
			t.Fatal(err)
		}
	}
	want, err := buf.ReadStamps(ctx, shards)
	if err != nil {
		t.Fatal(err)
	}
	client.AddHook(forgetful{calls: []int{1, 3}})
	got, err := buf.ReadStamps(ctx, shards)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("found %v, %v, want %v", got, err, want)
	}
}
