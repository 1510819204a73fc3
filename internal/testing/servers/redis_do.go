package servers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Do sends one command to the server itself, over its Unix socket, whatever a
// Cluster or a Sentinel says of it.
func (r *Redis) Do(ctx context.Context, args ...any) (reply any, err error) {
	c := redis.NewClient(&redis.Options{
		Network: "unix", Addr: r.settings["unixsocket"], Password: r.settings["requirepass"], Protocol: 2,
		MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer func() { err = errors.Join(err, c.Close()) }()
	reply, err = c.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("send %v to redis: %w", args[0], err)
	}
	return reply, nil
}

// says is true when the server's reply to a command has a line with a text.
// Without an answer it is false.
func (r *Redis) says(ctx context.Context, text string, args ...any) bool {
	reply, err := r.Do(ctx, args...)
	if err != nil {
		return false
	}
	all, _ := reply.(string)
	for line := range strings.Lines(all) {
		if strings.TrimSpace(line) == text {
			return true
		}
	}
	return false
}

// Cut ends the replication from r to a replica, which keeps what it has: what r
// is told from now on it alone knows. A replica that is suspended instead finds
// in its socket what was sent meanwhile. [Redis.Mend] takes it back.
func (r *Redis) Cut(ctx context.Context, replica *Redis) error {
	if _, err := replica.Do(ctx, "CONFIG", "SET", "masterauth", "cut"); err != nil {
		return fmt.Errorf("cut replication: %w", err)
	}
	err := poll(ctx, func() (bool, error) {
		if _, err := r.Do(ctx, "CLIENT", "KILL", "TYPE", "replica"); err != nil {
			return false, err
		}
		return replica.says(ctx, "master_link_status:down", "INFO", "replication"), nil
	})
	if err != nil {
		return fmt.Errorf("cut replication: %w", err)
	}
	return nil
}

// Mend lets a replica that was cut off replicate again.
func (r *Redis) Mend(ctx context.Context) error {
	if _, err := r.Do(ctx, "CONFIG", "SET", "masterauth", r.settings["masterauth"]); err != nil {
		return fmt.Errorf("mend replication: %w", err)
	}
	return nil
}

// working is true for a server that can answer.
func (m *member) working() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.process.running() && !m.frozen
}

// port is where a server with TCP listens.
func (r *Redis) port() string { return r.settings["port"] }

// Address is where a server with TCP listens, and its password.
func (r *Redis) Address() (host, port, password string) {
	return "127.0.0.1", r.settings["port"], r.settings["requirepass"]
}
