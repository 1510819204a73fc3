package servers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
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
	// OwnIdentity gives the cluster a system identifier of its own, as a server
	// elsewhere has one. Without it, clusters of this machine have the same.
	OwnIdentity bool
	// Programs is the folder of another installation's programs. Defaults to
	// what [FindPostgres] finds.
	Programs string
	// Clock is how far the server's clock is ahead of this process's, negative
	// for behind. It needs gcc ([ErrNotInstalled] without). Standbys have the
	// same.
	Clock time.Duration
	// Logger is told of starts and stops. Defaults to none.
	Logger *slog.Logger
}

// Postgres is a private cluster, a primary or a standby. Its methods may be
// called concurrently.
type Postgres struct {
	member
	tcp  bool
	own  bool // see PostgresOptions.OwnIdentity
	port int
	// password is the same on a primary and its standbys.
	password string
	// name is a standby's application name.
	name string

	// The mutex of member guards these.
	settings map[string]string
	standbys int
}

// defaultPort names the socket of a server that does not listen on TCP; it is
// no port of the machine.
const defaultPort = 5432

// StartPostgres starts a primary and returns when it accepts connections. The
// caller stops it with [Postgres.Stop].
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	b, err := postgresOf(options.Programs)
	if err != nil {
		return nil, err
	}
	p, err := newPostgres(ctx, options, b)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := p.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start postgres: %w", err), p.Stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func newPostgres(ctx context.Context, options PostgresOptions, b Binaries) (*Postgres, error) {
	place, err := acquire(ctx, options.Dir)
	if err != nil {
		return nil, err
	}
	clock, err := place.clockEnvironment(ctx, options.Clock)
	if err != nil {
		return nil, errors.Join(err, place.release())
	}
	p := &Postgres{
		member: member{
			kind:     "postgres",
			place:    place,
			binaries: b,
			clock:    options.Clock,
			env:      clock,
			logger:   cmp.Or(options.Logger, slog.New(slog.DiscardHandler)),
		},
		tcp:      options.TCP,
		own:      options.OwnIdentity,
		port:     defaultPort,
		settings: defaultSettings(options.Durable),
	}
	p.settings["unix_socket_directories"] = place.socketDir()
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
	there, err := p.place.hasData()
	if err != nil {
		return fmt.Errorf("find data in %s: %w", p.place.dir, err)
	}
	if there {
		p.binaries, err = matching(p.place.data(), p.binaries)
	} else {
		err = p.place.initialise(ctx, p.binaries, p.own)
	}
	if err != nil {
		return err
	}
	if p.password, err = p.place.remember(passwordFile, newPassword); err != nil {
		return err
	}
	if err := p.startFirst(ctx); err != nil || !p.tcp {
		return err
	}
	return p.setPassword(ctx)
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
	return p.place.startOn("could not bind", func(port int) error {
		p.port = port
		return p.Start(ctx)
	})
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
	if err := p.startable(); err != nil {
		return err
	}
	if err := p.writeSettings(); err != nil {
		return err
	}
	return p.launch(ctx, p.ready, "-D", p.place.data())
}

// ready looks for the line in the server's pid file that says so.
func (p *Postgres) ready(process *process) bool {
	content, err := os.ReadFile(filepath.Join(p.place.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) > 7 && lines[0] == strconv.Itoa(process.pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (p *Postgres) writeSettings() error {
	settings := maps.Clone(p.settings)
	settings["port"] = strconv.Itoa(p.port)
	if err := p.place.run.user.write(filepath.Join(p.place.data(), settingsFile), renderSettings(settings)); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	return nil
}
