package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/redisurl"
	"casq/internal/testing/servers"
	"casq/replica"
	"casq/replica/redisstore"
)

const (
	stickCount   = 40_000
	stickClients = 16
	stickObjects = 1000
)

// Stick measures positions merged a second, forward only, one object each; against as many
// bare SETs.
func Stick(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	server, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	client, err := redisurl.Open(server.URL())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	store := redisstore.New(client, redisstore.Options{Timeout: time.Minute})
	merge := func(ctx context.Context, i int64) error {
		object := replica.Object{Namespace: "bench", ID: fmt.Sprint(i % stickObjects)}
		return store.End(ctx, []replica.Object{object}, "", replica.Position{Timeline: 1, LSN: uint64(i)})
	}
	set := func(ctx context.Context, i int64) error {
		return client.Set(ctx, fmt.Sprintf("bare:%d", i%stickObjects), i, 0).Err()
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for _, side := range []struct {
			name string
			call func(context.Context, int64) error
		}{{"set", set}, {"merge", merge}} {
			rate, err := stickRate(ctx, side.call)
			if err != nil {
				return err
			}
			f.Add(side.name, rate)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d merges into %d objects by %d clients, a call each; reference: bare SET", stickCount, stickObjects, stickClients)
	return []measure.Result{figures.Compare("stick", "merge", "set", "merges/s", note)}, nil
}

func stickRate(ctx context.Context, call func(context.Context, int64) error) (float64, error) {
	var next atomic.Int64
	errs := make([]error, stickClients)
	start := time.Now()
	var clients sync.WaitGroup
	for client := range errs {
		clients.Go(func() {
			for i := next.Add(1); i <= stickCount && errs[client] == nil; i = next.Add(1) {
				errs[client] = call(ctx, i)
			}
		})
	}
	clients.Wait()
	return stickCount / time.Since(start).Seconds(), errors.Join(errs...)
}
