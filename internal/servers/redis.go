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
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	place    *place
	binaries Binaries
	logger   *slog.Logger
	tcp      bool
	password string
	port     int
	settings map[string]string

	mutex    sync.Mutex
	process  *process
	frozen   bool
	released bool
}

// StartRedis starts a Redis server and returns when it answers. The caller
// stops it with [Redis.Stop].
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	b, err := FindRedis()
	if err != nil {
		return nil, err
	}
	place, err := acquire(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	r := &Redis{
		place:    place,
		binaries: b,
		logger:   cmp.Or(options.Logger, slog.New(slog.DiscardHandler)),
		tcp:      options.TCP,
		settings: redisSettings(place),
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
		"unixsocket": filepath.Join(place.socketDir, "redis.sock"),
		"dir":        place.data(),
		"daemonize":  "no",
		"save":       "",
		"appendonly": "no",
	}
	if place.kept {
		settings["save"] = "3600 1 300 100 60 10000"
	}
	return settings
}

func (r *Redis) startFirst(ctx context.Context) error {
	if err := r.place.run.user.mkdir(r.place.data()); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if !r.tcp {
		r.settings["port"] = "0"
		return r.Start(ctx)
	}
	var err error
	if r.password, err = r.place.remember("password", newPassword); err != nil {
		return err
	}
	r.settings["requirepass"] = r.password
	for range portTries {
		if r.port, err = r.place.choosePort(); err != nil {
			return err
		}
		r.settings["port"] = strconv.Itoa(r.port)
		if err = r.Start(ctx); err == nil || !strings.Contains(err.Error(), "Could not create server TCP") {
			return err
		}
		if err := r.place.forgetPort(); err != nil {
			return err
		}
	}
	return err
}

// Start starts the server again, with its port and socket, after [Redis.Kill].
// It returns when the server answers; the error holds the tail of its log.
func (r *Redis) Start(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.process.running() {
		return fmt.Errorf("start redis: it is running as process %d", r.process.pid)
	}
	if r.released {
		return errors.New("start redis: it was stopped for good")
	}
	config := filepath.Join(r.place.dir, "redis.conf")
	if err := r.place.run.user.write(config, renderRedis(r.settings)); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	size := r.place.logSize()
	process, err := r.place.launch(r.binaries.server, config)
	if err != nil {
		return err
	}
	r.process, r.frozen = process, false
	if err := r.waitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("wait until redis answers: %w; its log ends with:\n%s",
			err, r.place.logSince(size)), process.kill())
	}
	r.logger.LogAttrs(ctx, slog.LevelDebug, "redis started", slog.String("dir", r.place.dir), slog.Int("pid", process.pid))
	return nil
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

func (r *Redis) waitReady(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		if !r.process.running() {
			return false, fmt.Errorf("%w: %w", errExited, r.process.err)
		}
		return r.ping(ctx), nil
	})
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
	if r.password != "" {
		request = "AUTH " + r.password + "\r\n" + request
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
	if r.tcp {
		u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: "127.0.0.1:" + strconv.Itoa(r.port), Path: "/0"}
		return u.String()
	}
	return (&url.URL{Scheme: "unix", Path: r.settings["unixsocket"]}).String()
}

// Dir returns the server's folder.
func (r *Redis) Dir() string { return r.place.dir }

// LogTail returns the last 4 KiB of the server's log.
func (r *Redis) LogTail() string { return r.place.logSince(0) }

// Kill ends the server with SIGKILL and returns when it is gone. [Redis.Start]
// starts it again, with the data that its settings made it save.
func (r *Redis) Kill() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.frozen = false
	if err := r.process.kill(); err != nil {
		return fmt.Errorf("kill redis: %w", err)
	}
	return nil
}

// Stop ends the server for good. In a folder of the caller's the server saves
// its data first; a temporary folder is removed. A server that has not ended
// when ctx is done, or after a minute, is killed. Stop may be called again.
func (r *Redis) Stop(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.released {
		return nil
	}
	r.released = true
	err := r.end(ctx)
	if err != nil {
		err = errors.Join(err, r.process.kill())
	}
	r.logger.LogAttrs(ctx, slog.LevelDebug, "redis stopped", slog.String("dir", r.place.dir))
	return errors.Join(err, r.place.release())
}

func (r *Redis) end(ctx context.Context) error {
	if !r.process.running() {
		return nil
	}
	if !r.place.kept {
		return r.process.kill()
	}
	if err := r.thaw(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := r.process.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop redis: %w", err)
	}
	if err := r.process.wait(ctx); err != nil {
		return fmt.Errorf("wait until redis has stopped: %w; its log ends with:\n%s", err, r.LogTail())
	}
	return nil
}

// Freeze suspends the server (SIGSTOP): connections stay open and nothing
// answers. [Redis.Thaw] lets it go on.
func (r *Redis) Freeze() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.frozen = true
	if err := r.process.freeze(context.Background()); err != nil {
		return fmt.Errorf("freeze redis: %w", err)
	}
	return nil
}

// Thaw lets a frozen server go on.
func (r *Redis) Thaw() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.thaw()
}

func (r *Redis) thaw() error {
	if !r.frozen {
		return nil
	}
	if err := r.process.thaw(); err != nil {
		return fmt.Errorf("thaw redis: %w", err)
	}
	r.frozen = false
	return nil
}
