package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// StandbyOptions say how a standby is started.
type StandbyOptions struct {
	// Dir is the server's folder, as in [PostgresOptions].
	Dir string
	// ApplicationName is the name that the primary knows the standby by, in
	// pg_stat_replication and for [Postgres.SetSynchronous], and the name of
	// its slot. Defaults to standby and a number.
	ApplicationName string
	// Synchronous makes the primary wait for this standby with each commit.
	Synchronous bool
	// Settings are added to those of the primary, or replace them.
	Settings map[string]string
	// TCP is as in [PostgresOptions].
	TCP bool
	// ClockAhead is how far its clock is ahead of the primary's.
	ClockAhead time.Duration
	// Logger is told of starts and stops. Defaults to the primary's.
	Logger *slog.Logger
}

// standbySignal is the file that makes a server a standby; a promotion removes
// it.
const standbySignal = "standby.signal"

// Standby starts a streaming hot standby of p, with a physical replication slot
// on p. It returns when the standby accepts connections and streams. Stop the
// standby before its primary.
func (p *Postgres) Standby(ctx context.Context, options StandbyOptions) (*Postgres, error) {
	p.mutex.Lock()
	p.standbys++
	name := cmp.Or(options.ApplicationName, fmt.Sprintf("standby%d", p.standbys))
	settings := maps.Clone(p.settings)
	p.mutex.Unlock()

	s, err := newPostgres(ctx, PostgresOptions{
		Dir: options.Dir, TCP: options.TCP, Logger: cmp.Or(options.Logger, p.logger), Clock: p.clock + options.ClockAhead,
	}, p.binaries)
	if err != nil {
		return nil, fmt.Errorf("start standby %s: %w", name, err)
	}
	s.name, s.password = name, p.password
	s.inherit(settings, options.Settings)
	s.settings["primary_conninfo"] = p.conninfo(name)
	s.settings["primary_slot_name"] = slotName(name)
	if err := s.createStandby(ctx, p, options.Synchronous); err != nil {
		return nil, errors.Join(fmt.Errorf("start standby %s: %w", name, err), s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// inherit takes over the primary's settings, several of which must not be lower
// on a standby, except for those that are about one server.
func (p *Postgres) inherit(primary, own map[string]string) {
	for name, value := range primary {
		switch name {
		case "unix_socket_directories", "listen_addresses", "cluster_name", "synchronous_standby_names",
			"primary_conninfo", "primary_slot_name", "recovery_min_apply_delay":
		default:
			p.settings[name] = value
		}
	}
	maps.Copy(p.settings, own)
}

func (p *Postgres) createStandby(ctx context.Context, primary *Postgres, synchronous bool) error {
	there, err := p.place.hasData()
	if err != nil {
		return err
	}
	if !there {
		err = p.baseBackup(ctx, primary)
	} else if _, signalErr := os.Stat(filepath.Join(p.place.data(), standbySignal)); signalErr != nil {
		err = fmt.Errorf("take up the standby in %s: it was promoted: remove the folder: %w", p.place.dir, signalErr)
	}
	if err != nil {
		return err
	}
	if p.tcp {
		// The primary need not listen on TCP itself.
		if err := primary.setPassword(ctx); err != nil {
			return err
		}
	}
	if err := p.startFirst(ctx); err != nil {
		return err
	}
	if err := primary.waitStreaming(ctx, p.name); err != nil {
		return fmt.Errorf("%w; the standby's log ends with:\n%s", err, p.LogTail())
	}
	if !synchronous {
		return nil
	}
	return primary.SetSynchronous(ctx, p.name)
}

// makeSlot makes a standby's slot unless it is there.
func (p *Postgres) makeSlot(ctx context.Context, name string) error {
	err := p.Exec(ctx, `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, slotName(name))
	if err != nil {
		return fmt.Errorf("make the replication slot of %s: %w", name, err)
	}
	return nil
}

// conninfo is how a standby reaches p: by the socket, whatever p listens on.
func (p *Postgres) conninfo(name string) string {
	quote := strings.NewReplacer(`'`, `\'`, `\`, `\\`)
	return fmt.Sprintf("host='%s' port=%d user=postgres application_name='%s'",
		quote.Replace(p.place.socketDir()), p.port, quote.Replace(name))
}

// slotName replaces what a slot's name cannot hold.
func slotName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// waitStreaming waits until a standby follows p.
func (p *Postgres) waitStreaming(ctx context.Context, name string) error {
	err := p.wait(ctx, `SELECT EXISTS (SELECT FROM pg_stat_replication
		WHERE application_name = $1 AND state = 'streaming')`, name)
	if err != nil {
		return fmt.Errorf("wait until standby %s streams: %w", name, err)
	}
	return nil
}

// SetSynchronous makes p wait, with each commit, for all the standbys named;
// for none without names. It returns when this is in force: commits that follow
// do wait, also when a standby is not there.
func (p *Postgres) SetSynchronous(ctx context.Context, names ...string) error {
	value := ""
	if len(names) > 0 {
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = pgx.Identifier{name}.Sanitize()
		}
		value = fmt.Sprintf("FIRST %d (%s)", len(names), strings.Join(quoted, ", "))
	}
	if err := p.Reload(ctx, map[string]string{"synchronous_standby_names": value}); err != nil {
		return fmt.Errorf("set the synchronous standbys: %w", err)
	}
	// Commits look at a flag that the checkpointer sets when it reads its
	// configuration, which it does before it begins a checkpoint.
	if err := p.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("wait until the synchronous standbys are in force: %w", err)
	}
	return nil
}

// CutOff makes a standby miss what its primary writes from now on. It returns when
// nothing is received any more.
func (p *Postgres) CutOff(ctx context.Context) error {
	if err := p.Reload(ctx, map[string]string{"primary_conninfo": ""}); err != nil {
		return fmt.Errorf("cut the standby off: %w", err)
	}
	if err := p.wait(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"); err != nil {
		return fmt.Errorf("wait until the standby is cut off: %w", err)
	}
	return nil
}

// Follow makes a standby follow another primary, for example one that was
// promoted. It returns when the standby streams from it.
func (p *Postgres) Follow(ctx context.Context, primary *Postgres) error {
	if err := primary.makeSlot(ctx, p.name); err != nil {
		return err
	}
	err := p.Reload(ctx, map[string]string{
		"primary_conninfo":  primary.conninfo(p.name),
		"primary_slot_name": slotName(p.name),
	})
	if err != nil {
		return fmt.Errorf("follow another primary: %w", err)
	}
	return primary.waitStreaming(ctx, p.name)
}
