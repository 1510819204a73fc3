package servers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions say how a primary is started.
type PostgresOptions struct {
	// Dir is the server's folder. Its data stays there after Stop and is found
	// again by the next start. Defaults to a temporary folder, removed by Stop.
	Dir string
	// Settings are added to the server's configuration, or replace settings
	// that this package makes.
	Settings map[string]string
	// Durable makes the server flush to the disk (fsync). Without it, data
	// survive a SIGKILL of the server but not a power cut.
	Durable bool
	// TCP makes the server listen on a free port of 127.0.0.1, with a
	// password, beside its Unix socket.
	TCP bool
	// Logger is told of starts and stops. Defaults to none.
	Logger *slog.Logger
}

// Postgres is a private cluster, a primary or a standby. Its methods may be
// called concurrently.
type Postgres struct {
	place    *place
	binaries Binaries
	logger   *slog.Logger
	tcp      bool
	password string
	port     int

	// name is a standby's application name.
	name string

	mutex    sync.Mutex
	settings map[string]string
	standbys int
	process  *process
	frozen   bool
	released bool
}

// defaultPort names the socket of a server that does not listen on TCP; it is
// no port of the machine.
const defaultPort = 5432

// portTries is how often another free port is tried when somebody else takes it
// between our look and the server's.
const portTries = 5

// StartPostgres starts a primary and returns when it accepts connections. The
// caller stops it with [Postgres.Stop].
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	b, err := FindPostgres()
	if err != nil {
		return nil, err
	}
	p, err := newPostgres(options, b)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := p.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start postgres: %w", err), p.Stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func newPostgres(options PostgresOptions, b Binaries) (*Postgres, error) {
	place, err := acquire(options.Dir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{
		place:    place,
		binaries: b,
		logger:   cmp.Or(options.Logger, slog.New(slog.DiscardHandler)),
		tcp:      options.TCP,
		port:     defaultPort,
		settings: defaultSettings(options.Durable),
	}
	p.settings["unix_socket_directories"] = place.socketDir
	p.settings["listen_addresses"] = ""
	p.settings["cluster_name"] = "casq"
	if p.tcp {
		p.settings["listen_addresses"] = "127.0.0.1"
	}
	maps.Copy(p.settings, options.Settings)
	return p, nil
}

// create makes the data folder unless it is there, and starts the server.
func (p *Postgres) create(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(p.place.data(), "PG_VERSION"))
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		if err := p.place.initialise(ctx, p.binaries); err != nil {
			return err
		}
	default:
		return fmt.Errorf("look for a cluster in %s: %w", p.place.dir, err)
	}
	if err := p.startFirst(ctx); err != nil {
		return err
	}
	if !p.tcp {
		return nil
	}
	return p.Exec(ctx, "ALTER ROLE postgres PASSWORD "+quoteLiteral(p.password))
}

// startFirst starts the server for the first time in this process, when the
// port may still be chosen.
func (p *Postgres) startFirst(ctx context.Context) error {
	if err := p.include(); err != nil {
		return err
	}
	if !p.tcp {
		return p.Start(ctx)
	}
	var err error
	if p.password, err = p.place.remember("password", newPassword); err != nil {
		return err
	}
	for range portTries {
		if p.port, err = p.place.choosePort(); err != nil {
			return err
		}
		if err = p.Start(ctx); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
		if err := p.place.forgetPort(); err != nil {
			return err
		}
	}
	return err
}

// include makes the server read our settings after its own.
func (p *Postgres) include() error {
	file := filepath.Join(p.place.data(), "postgresql.conf")
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the server's configuration: %w", err)
	}
	line := "include_if_exists = '" + settingsFile + "'\n"
	if bytes.HasSuffix(content, []byte(line)) {
		return nil
	}
	return p.place.run.user.write(file, append(content, "\n"+line...))
}

// Start starts the server again, with its data, port and socket, after
// [Postgres.Kill] or [Postgres.StopImmediate]. It returns when the server
// accepts connections; the error holds the tail of the server's log.
func (p *Postgres) Start(ctx context.Context) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.process.running() {
		return fmt.Errorf("start postgres: it is running as process %d", p.process.pid)
	}
	if p.released {
		return errors.New("start postgres: it was stopped for good")
	}
	started := time.Now()
	if err := p.writeSettings(); err != nil {
		return err
	}
	size := p.logSize()
	process, err := p.place.launch(p.binaries.server, "-D", p.place.data())
	if err != nil {
		return err
	}
	p.process, p.frozen = process, false
	if err := p.waitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("wait until postgres accepts connections: %w; its log ends with:\n%s",
			err, p.logSince(size)), process.kill())
	}
	p.logger.LogAttrs(ctx, slog.LevelDebug, "postgres started", slog.String("dir", p.place.dir),
		slog.Int("pid", process.pid), slog.Duration("duration", time.Since(started)))
	return nil
}

// errExited is why waiting for a server ends early.
var errExited = errors.New("the server exited")

// waitReady waits for the line in the server's pid file that says it is ready.
func (p *Postgres) waitReady(ctx context.Context) error {
	file := filepath.Join(p.place.data(), "postmaster.pid")
	return poll(ctx, func() (bool, error) {
		if !p.process.running() {
			return false, fmt.Errorf("%w: %w", errExited, p.process.err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return false, nil
		}
		lines := strings.Split(string(content), "\n")
		return len(lines) > 7 && lines[0] == strconv.Itoa(p.process.pid) && strings.TrimSpace(lines[7]) == "ready", nil
	})
}

func (p *Postgres) writeSettings() error {
	settings := maps.Clone(p.settings)
	settings["port"] = strconv.Itoa(p.port)
	if err := p.place.run.user.write(filepath.Join(p.place.data(), settingsFile), renderSettings(settings)); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	return nil
}

// URL returns where pgx and psql find a database of the server, as superuser
// postgres.
func (p *Postgres) URL(database string) string {
	return p.url("postgres", database)
}

func (p *Postgres) url(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database}
	if p.tcp {
		u.User = url.UserPassword(role, p.password)
		u.Host = "127.0.0.1:" + strconv.Itoa(p.port)
		u.RawQuery = "sslmode=disable"
	} else {
		// The socket as a parameter: an escaped path as host is not understood
		// by every client.
		u.RawQuery = url.Values{"host": {p.place.socketDir}, "port": {strconv.Itoa(p.port)}}.Encode()
	}
	return u.String()
}

// RoleURL returns the URL of a database for an ordinary role, which may log in
// and nothing else. The role is made when there is none.
func (p *Postgres) RoleURL(ctx context.Context, role, database string) (string, error) {
	err := p.query(ctx, func(conn *pgx.Conn) error {
		var exists bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&exists)
		if err != nil || exists {
			return err
		}
		statement := "CREATE ROLE " + pgx.Identifier{role}.Sanitize() + " LOGIN"
		if p.tcp {
			statement += " PASSWORD " + quoteLiteral(p.password)
		}
		_, err = conn.Exec(ctx, statement)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make role %s: %w", role, err)
	}
	return p.url(role, database), nil
}

// Dir returns the server's folder.
func (p *Postgres) Dir() string { return p.place.dir }

// Exec runs statements that return nothing, as superuser in database postgres.
func (p *Postgres) Exec(ctx context.Context, sql string, args ...any) error {
	return p.query(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// query calls f with a connection of its own to database postgres, by the
// socket. A connection that is kept would be a stale one after a kill.
func (p *Postgres) query(ctx context.Context, f func(*pgx.Conn) error) error {
	config, err := pgx.ParseConfig((&Postgres{place: p.place, port: p.port}).URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to postgres in %s: %w", p.place.dir, err)
	}
	config.RuntimeParams["application_name"] = "casq-servers"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to postgres in %s: %w", p.place.dir, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// Kill ends the server and all its processes with SIGKILL and returns when none
// is left. [Postgres.Start] starts it again with its data.
func (p *Postgres) Kill() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.frozen = false
	if err := p.process.kill(); err != nil {
		return fmt.Errorf("kill postgres: %w", err)
	}
	return nil
}

// StopImmediate ends the server as `pg_ctl stop -m immediate` does: without a
// checkpoint, so that the next start recovers.
func (p *Postgres) StopImmediate(ctx context.Context) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.end(ctx, syscall.SIGQUIT)
}

// Stop ends the server for good. A server in a folder of the caller's is shut
// down in order and its data are kept; a temporary one is ended at once and its
// folder removed. A server that has not ended when ctx is done, or after a
// minute, is killed. Stop may be called again.
func (p *Postgres) Stop(ctx context.Context) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.released {
		return nil
	}
	signal := syscall.SIGINT
	if !p.place.kept {
		signal = syscall.SIGQUIT
	}
	err := p.end(ctx, signal)
	if err != nil {
		err = errors.Join(err, p.process.kill())
	}
	p.released = true
	p.logger.LogAttrs(ctx, slog.LevelDebug, "postgres stopped", slog.String("dir", p.place.dir))
	if !p.place.kept {
		p.place.freeSegment(ctx)
	}
	return errors.Join(err, p.place.release())
}

// stopTimeout is for a shutdown in order: its checkpoint writes at most
// max_wal_size.
const stopTimeout = time.Minute

func (p *Postgres) end(ctx context.Context, signal syscall.Signal) error {
	if !p.process.running() {
		return nil
	}
	if err := p.thaw(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := p.process.signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop postgres: %w", err)
	}
	if err := p.process.wait(ctx); err != nil {
		return fmt.Errorf("wait until postgres has stopped: %w; its log ends with:\n%s", err, p.LogTail())
	}
	return nil
}

// Freeze suspends all processes of the server (SIGSTOP): connections stay open
// and nothing answers. [Postgres.Thaw] lets it go on.
func (p *Postgres) Freeze() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.frozen = true
	if err := p.process.freeze(context.Background()); err != nil {
		return fmt.Errorf("freeze postgres: %w", err)
	}
	return nil
}

// Thaw lets a frozen server go on.
func (p *Postgres) Thaw() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.thaw()
}

func (p *Postgres) thaw() error {
	if !p.frozen {
		return nil
	}
	if err := p.process.thaw(); err != nil {
		return fmt.Errorf("thaw postgres: %w", err)
	}
	p.frozen = false
	return nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func newPassword() (string, error) {
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	return hex.EncodeToString(secret), nil
}
