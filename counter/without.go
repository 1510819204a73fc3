package counter

import (
	"context"
	"sync"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/internal/pause"
)

// without writes batches to Postgres until Redis answers. Whether it does is
// asked at the side: a server that hangs would hold up the counters each time.
//
// One of a Cluster's masters that is away is enough to write all shards there.
// Most Clusters refuse everything until its replica is promoted
// (cluster-require-full-coverage is yes by default), so that no more is gained by
// telling the shards apart.
func (c *Counters) without(ctx context.Context, buf *buffer.Buffer, n int) error {
	asking, stop := context.WithCancel(ctx)
	answers := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for _ = pause.For(asking, c.cfg.AskAgain); asking.Err() == nil; _ = pause.For(asking, c.cfg.AskAgain) {
			if c.answers(asking, buf, n) {
				close(answers)
				return
			}
		}
	})
	defer group.Wait()
	defer stop()
	return c.follow(ctx, answers, false)
}

// answers tells whether all shards can be in Redis again.
func (c *Counters) answers(ctx context.Context, buf *buffer.Buffer, n int) bool {
	if buffer.CheckPolicy(ctx, c.cfg.Redis) != nil {
		return false
	}
	_, err := buf.ReadStamps(ctx, tally.All(n))
	return err == nil
}
