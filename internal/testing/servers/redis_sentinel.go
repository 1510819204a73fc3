package servers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// RedisSentinelOptions say how a Sentinel set-up is started.
type RedisSentinelOptions struct {
	// Settings are added to the configuration of the master and the replica, or
	// replace settings that this package makes.
	Settings map[string]string
	// Logger is told of starts and stops. Defaults to none.
	Logger *slog.Logger
}

// RedisSentinel is a private master with a replica and one Sentinel that watches
// them, on free ports of 127.0.0.1. The Sentinel fails over when it is told to,
// not by itself: a busy machine looks like a dead one.
type RedisSentinel struct {
	// Master and Replica are what they were at the start.
	Master, Replica *Redis
	// Sentinel answers where the master is. It cannot be started again.
	Sentinel *Redis
}

const sentinelMaster = "casq"

// StartRedisSentinel starts a master, a replica and a Sentinel, and returns when
// the Sentinel could fail over. The caller stops them with [RedisSentinel.Stop].
func StartRedisSentinel(ctx context.Context, options RedisSentinelOptions) (*RedisSentinel, error) {
	settings, err := groupSettings(options.Settings)
	if err != nil {
		return nil, fmt.Errorf("start redis with a sentinel: %w", err)
	}
	both, err := startAll(ctx, 2, RedisOptions{Settings: settings, TCP: true, Logger: options.Logger})
	if err != nil {
		return nil, fmt.Errorf("start redis with a sentinel: %w", err)
	}
	s := &RedisSentinel{Master: both[0], Replica: both[1]}
	if err := s.watch(ctx, options.Logger); err != nil {
		return nil, errors.Join(fmt.Errorf("start redis with a sentinel: %w", err), s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// watch makes the replica one and starts the Sentinel.
func (s *RedisSentinel) watch(ctx context.Context, logger *slog.Logger) error {
	if _, err := s.Replica.Do(ctx, "REPLICAOF", "127.0.0.1", s.Master.port()); err != nil {
		return err
	}
	err := poll(ctx, func() (bool, error) { return s.Replica.says(ctx, "master_link_status:up", "INFO", "replication"), nil })
	if err != nil {
		return fmt.Errorf("wait until the replica has a copy: %w", err)
	}
	password := s.Master.settings["requirepass"]
	s.Sentinel, err = newRedis(ctx, RedisOptions{TCP: true, Logger: logger, Settings: map[string]string{
		"requirepass":      password,
		"sentinel monitor": sentinelMaster + " 127.0.0.1 " + s.Master.port() + " 1",
	}}, "--sentinel")
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"auth-pass": password, "down-after-milliseconds": "60000"} {
		if _, err := s.Sentinel.Do(ctx, "SENTINEL", "SET", sentinelMaster, name, value); err != nil {
			return err
		}
	}
	err = poll(ctx, func() (bool, error) {
		reply, err := s.Sentinel.Do(ctx, "SENTINEL", "REPLICAS", sentinelMaster)
		return strings.Contains(fmt.Sprint(reply), "master-link-status ok"), err
	})
	if err != nil {
		return fmt.Errorf("wait until the sentinel knows the replica: %w", err)
	}
	return nil
}

// Failover makes the Sentinel promote the replica, and returns when that is the
// master.
func (s *RedisSentinel) Failover(ctx context.Context) error {
	err := poll(ctx, func() (bool, error) {
		_, err := s.Sentinel.Do(ctx, "SENTINEL", "FAILOVER", sentinelMaster)
		// It may have to look at the replica once more.
		if err != nil && strings.Contains(err.Error(), "NOGOODSLAVE") {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("ask for a failover: %w", err)
	}
	err = poll(ctx, func() (bool, error) {
		reply, err := s.Sentinel.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelMaster)
		return strings.Contains(fmt.Sprint(reply), s.Replica.port()), err
	})
	if err != nil {
		return fmt.Errorf("wait for the failover: %w; the sentinel's log ends with:\n%s", err, s.Sentinel.LogTail())
	}
	return nil
}

// URL returns where go-redis finds the master: by the Sentinel.
func (s *RedisSentinel) URL() string {
	password := s.Sentinel.settings["requirepass"]
	return (&url.URL{
		Scheme: "redis", User: url.UserPassword("", password), Host: "127.0.0.1:" + s.Sentinel.port(), Path: "/0",
		RawQuery: url.Values{"master_name": {sentinelMaster}, "password": {s.Master.settings["requirepass"]}}.Encode(),
	}).String()
}

// Stop ends all servers for good. It may be called again.
func (s *RedisSentinel) Stop(ctx context.Context) error {
	return stopAll(ctx, []*Redis{s.Sentinel, s.Replica, s.Master})
}
