package servers

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RedisOptions say how a Redis server is started.
type RedisOptions struct {
	// Dir is the server's folder. What the server saves stays there after Stop
	// and is found again by the next start. Defaults to a temporary folder,
	// removed by Stop, and then nothing is saved at all unless Settings say so.
	Dir string
	// Settings are added to the server's configuration, or replace settings
	// that this package makes.
	Settings map[string]string
	// TCP makes the server listen on a free port of 127.0.0.1, with a
	// password, beside its Unix socket.
	TCP bool
	// Logger is told of starts and stops. Defaults to none.
	Logger *slog.Logger
}

// Redis is a private Redis server. Its methods may be called concurrently.
type Redis struct {
	member
	tcp      bool
	settings map[string]string
	args     []string // after the configuration's name
}

// StartRedis starts a Redis server and returns when it answers. The caller
// stops it with [Redis.Stop].
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	return newRedis(ctx, options)
}

func newRedis(ctx context.Context, options RedisOptions, args ...string) (*Redis, error) {
	b, err := FindRedis()
	if err != nil {
		return nil, err
	}
	place, err := acquire(ctx, options.Dir)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	r := &Redis{
		member: member{
			kind:     "redis",
			place:    place,
			binaries: b,
			logger:   cmp.Or(options.Logger, slog.New(slog.DiscardHandler)),
		},
		tcp:      options.TCP,
		settings: redisSettings(place),
		args:     args,
	}
	maps.Copy(r.settings, options.Settings)
	if err := r.startFirst(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start redis: %w", err), r.Stop(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func redisSettings(place *place) map[string]string {
	settings := map[string]string{
		"bind":       "127.0.0.1",
		"unixsocket": filepath.Join(place.socketDir(), "redis.sock"),
		"dir":        place.data(),
		"daemonize":  "no",
		"save":       "",
		"appendonly": "no",
	}
	if place.kept() {
		settings["save"] = "3600 1 300 100 60 10000"
	}
	return settings
}

func (r *Redis) startFirst(ctx context.Context) error {
	there, err := r.place.hasData()
	if err == nil && !there {
		err = r.place.run.user.mkdir(r.place.data())
	}
	if err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if !r.tcp {
		r.settings["port"] = "0"
		return r.Start(ctx)
	}
	if r.settings["requirepass"] == "" {
		password, err := r.place.remember(passwordFile, newPassword)
		if err != nil {
			return err
		}
		r.settings["requirepass"] = password
	}
	return r.place.startOn("Could not create server TCP", func(port int) (err error) {
		r.settings["port"] = strconv.Itoa(port)
		if r.settings["cluster-enabled"] == "yes" {
			// By default 10000 above the other, where there may be none.
			if r.settings["cluster-port"], err = freePort(); err != nil {
				return fmt.Errorf("choose a port for the cluster: %w", err)
			}
		}
		return r.Start(ctx)
	})
}

// Start starts the server again, with its port and socket, after [Redis.Kill].
// It returns when the server answers; the error holds the tail of its log.
func (r *Redis) Start(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := r.startable(); err != nil {
		return err
	}
	config := filepath.Join(r.place.dir, "redis.conf")
	if err := r.place.run.user.write(config, renderRedis(r.settings)); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	return r.launch(ctx, func(*process) bool { return r.ping(ctx) }, append([]string{config}, r.args...)...)
}

// renderRedis returns the configuration file's content, sorted by name. The
// value of save and its like is several arguments, so that values are quoted
// only when empty; a password has no blanks.
func renderRedis(settings map[string]string) []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if value == "" || name == "dir" || name == "unixsocket" {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%s %s\n", name, value)
	}
	return []byte(b.String())
}

// ping is true when the server answers and has loaded its data.
func (r *Redis) ping(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", r.settings["unixsocket"])
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	request := "PING\r\n"
	if password := r.settings["requirepass"]; password != "" {
		request = "AUTH " + password + "\r\n" + request
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return false
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if lines.Text() != "+OK" {
			return lines.Text() == "+PONG"
		}
	}
	return false
}

// URL returns where go-redis finds the server.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "unix", Path: r.settings["unixsocket"]}
	if r.tcp {
		u = url.URL{Scheme: "redis", Host: "127.0.0.1:" + r.settings["port"], Path: "/0"}
	}
	if password := r.settings["requirepass"]; password != "" {
		u.User = url.UserPassword("", password)
	}
	return u.String()
}

// Stop ends the server for good. In a folder of the caller's the server saves
// its data first; a temporary folder is removed. A server that has not ended
// when ctx is done, or after a minute, is killed, and the error says so. Stop
// may be called again.
func (r *Redis) Stop(ctx context.Context) error {
	signal := syscall.SIGTERM
	if !r.place.kept() {
		signal = syscall.SIGKILL
	}
	return r.stop(ctx, signal, func() {})
}
