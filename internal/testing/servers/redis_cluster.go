package servers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
)

// RedisClusterOptions say how a Redis Cluster is started.
type RedisClusterOptions struct {
	// Replicas is how many of the three masters have a replica, the first ones
	// first.
	Replicas int
	// Settings are added to each server's configuration, or replace settings
	// that this package makes.
	Settings map[string]string
	// Logger is told of starts and stops. Defaults to none.
	Logger *slog.Logger
}

// clusterMasters is the least that a Cluster can have.
const clusterMasters = 3

// RedisCluster is a private Redis Cluster on free ports of 127.0.0.1. Its servers
// can be killed, frozen and started again one by one.
type RedisCluster struct {
	// Masters are those that the slots were given to at the start, a third to
	// each, in the order of the slots.
	Masters []*Redis
	// Replicas are copies of the masters of the same index, at the start.
	Replicas []*Redis
}

// StartRedisCluster starts a Cluster and returns when all of its servers call it
// whole, which takes some 3 s: a master of Redis 7 waits 2 s before it takes
// writes. The caller stops it with [RedisCluster.Stop].
func StartRedisCluster(ctx context.Context, options RedisClusterOptions) (*RedisCluster, error) {
	settings, err := groupSettings(options.Settings)
	if err != nil {
		return nil, fmt.Errorf("start a redis cluster: %w", err)
	}
	settings["cluster-enabled"] = "yes"
	nodes, err := startAll(ctx, clusterMasters+options.Replicas, RedisOptions{Settings: settings, TCP: true, Logger: options.Logger})
	if err != nil {
		return nil, fmt.Errorf("start a redis cluster: %w", err)
	}
	c := &RedisCluster{Masters: nodes[:clusterMasters], Replicas: nodes[clusterMasters:]}
	if err := c.form(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("form a redis cluster: %w", err), c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// groupSettings are those of servers that log in to each other.
func groupSettings(more map[string]string) (map[string]string, error) {
	password, err := newPassword()
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		"requirepass": password, "masterauth": password,
		// Copies go through memory at once: nothing is kept, and nobody waits
		// for others that may want the same copy.
		"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0",
	}
	maps.Copy(settings, more)
	return settings, nil
}

// startAll starts n servers at the same time, or none.
func startAll(ctx context.Context, n int, options RedisOptions) ([]*Redis, error) {
	started, errs := make([]*Redis, n), make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { started[i], errs[i] = StartRedis(ctx, options) })
	}
	group.Wait()
	err := errors.Join(errs...)
	if err != nil {
		err = errors.Join(err, stopAll(context.WithoutCancel(ctx), started))
	}
	return started, err
}

func stopAll(ctx context.Context, servers []*Redis) error {
	var errs []error
	for _, r := range servers {
		if r != nil {
			errs = append(errs, r.Stop(ctx))
		}
	}
	return errors.Join(errs...)
}

// form introduces the servers to each other and hands out slots and masters.
func (c *RedisCluster) form(ctx context.Context) error {
	for i, r := range c.Nodes() {
		// Else all begin with the same epoch, and agree on that first.
		if _, err := r.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1); err != nil {
			return err
		}
		// Each to each, instead of by hearsay, which takes seconds.
		for _, other := range c.Nodes()[:i] {
			if _, err := r.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", other.port(), other.settings["cluster-port"]); err != nil {
				return err
			}
		}
	}
	const slots = 16384
	for i, r := range c.Masters {
		if _, err := r.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/clusterMasters, (i+1)*slots/clusterMasters-1); err != nil {
			return err
		}
	}
	for i, r := range c.Replicas {
		if err := r.replicate(ctx, c.Masters[i]); err != nil {
			return err
		}
	}
	return c.WaitOK(ctx)
}

// replicate makes r a replica, once it knows its master.
func (r *Redis) replicate(ctx context.Context, master *Redis) error {
	id, err := master.ClusterID(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		_, err := r.Do(ctx, "CLUSTER", "REPLICATE", id)
		if err != nil && !strings.Contains(err.Error(), "Unknown node") {
			return false, err
		}
		return err == nil, nil
	})
}

// ClusterID returns a server's name in its Cluster.
func (r *Redis) ClusterID(ctx context.Context) (string, error) {
	reply, err := r.Do(ctx, "CLUSTER", "MYID")
	id, _ := reply.(string)
	return id, err
}

// WaitOK returns when all servers that are not down or frozen call the Cluster
// whole and their replication works.
func (c *RedisCluster) WaitOK(ctx context.Context) error {
	err := poll(ctx, func() (bool, error) {
		for _, r := range c.Nodes() {
			if !r.working() {
				continue
			}
			if !r.says(ctx, "cluster_state:ok", "CLUSTER", "INFO") || r.says(ctx, "master_link_status:down", "INFO", "replication") {
				return false, nil
			}
			if n := fmt.Sprint("cluster_known_nodes:", len(c.Nodes())); !r.says(ctx, n, "CLUSTER", "INFO") {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the redis cluster is whole: %w", err)
	}
	return nil
}

// Promote makes a replica the master, whatever it lacks and whoever agrees, and
// returns when all servers that are not down or frozen know.
func (c *RedisCluster) Promote(ctx context.Context, replica *Redis) error {
	id, err := replica.ClusterID(ctx)
	if err == nil {
		_, err = replica.Do(ctx, "CLUSTER", "FAILOVER", "TAKEOVER")
	}
	if err != nil {
		return fmt.Errorf("promote a replica: %w", err)
	}
	return poll(ctx, func() (bool, error) {
		for _, r := range c.Nodes() {
			if r.working() && !r.knowsMaster(ctx, id) {
				return false, nil
			}
		}
		return true, nil
	})
}

// knowsMaster is true when r calls a server a master that has slots.
func (r *Redis) knowsMaster(ctx context.Context, id string) bool {
	reply, err := r.Do(ctx, "CLUSTER", "NODES")
	if err != nil {
		return false
	}
	all, _ := reply.(string)
	for line := range strings.Lines(all) {
		// id address flags master ping pong epoch link slots...
		if fields := strings.Fields(line); len(fields) > 8 && fields[0] == id {
			return strings.Contains(fields[2], "master")
		}
	}
	return false
}

// Nodes are all servers, the masters of the start first.
func (c *RedisCluster) Nodes() []*Redis {
	return append(append([]*Redis{}, c.Masters...), c.Replicas...)
}

// URL returns where go-redis finds the Cluster.
func (c *RedisCluster) URL() string {
	nodes := c.Nodes()
	u := url.URL{Scheme: "redis", Host: "127.0.0.1:" + nodes[0].port(), User: url.UserPassword("", nodes[0].settings["requirepass"])}
	query := url.Values{}
	for _, r := range nodes[1:] {
		query.Add("addr", "127.0.0.1:"+r.port())
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Stop ends all servers for good. It may be called again.
func (c *RedisCluster) Stop(ctx context.Context) error { return stopAll(ctx, c.Nodes()) }
