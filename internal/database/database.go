// Package database opens connections to Postgres the way every part of casq
// needs them: a session that is frozen inside a transaction loses its locks
// after a few seconds, and a peer that is gone is noticed.
package database

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"casq/internal/audit"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sys/unix"
)

//go:embed database.sql
var databaseText string

// databaseSQL has the statements of database.sql.
var databaseSQL = queries.Parse[struct{ Settings, Identity, ByIndex string }]("database", databaseText)

// ByIndex is for the transaction of statements that each have one index which is right,
// whatever the planner takes for cheaper.
var ByIndex = databaseSQL.ByIndex

// IdleInTransaction is how long a session may hold its locks without sending a
// statement. Without it a process that is stopped inside a transaction blocks
// the log until its session ends.
const IdleInTransaction = 5 * time.Second

// peerGone is how long a peer may leave what was sent unacknowledged, and
// connectTimeout how long a server may take to let one in. Neither is about a
// server that is busy, or waits for a lock: its machine acknowledges all the same.
const (
	peerGone       = 10 * time.Second
	connectTimeout = 30 * time.Second
)

// keepAlive asks a peer that one only waits for.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// Options of [Open]. The zero value is what most callers want.
type Options struct {
	Application string // application_name; defaults to "casq"
	MaxConns    int32  // of a pool; defaults to 16
	// IdleInTransaction defaults to [IdleInTransaction].
	IdleInTransaction time.Duration
	// SearchPath is for programs that have tables of their own, such as tests.
	// The default, "pg_catalog, pg_temp", has no schema in which others may put
	// a function that Postgres takes for the one that was meant.
	SearchPath string
}

// Open returns a pool for the database at url. It does not connect yet; see
// [Wait].
func Open(ctx context.Context, url string, opts Options) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	config.MaxConns = cmp.Or(opts.MaxConns, 16)
	if err := configure(config.ConnConfig, opts); err != nil {
		return nil, err
	}
	config.PrepareConn = audit.Prepare
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return pool, nil
}

// ParseConfig is [Open] for a single connection.
func ParseConfig(url string, opts Options) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	return config, configure(config, opts)
}

// configure gives a connection settings of its own. A role or a database may have
// others, for the sake of an application; only what the URL says goes before ours.
//
// So default_transaction_read_only of a database does not stop casq. It is a default
// and no lock: sessions that are open go on writing, and those that began under it
// stay read-only after it was taken back, so that a pool would do both. Where nothing
// may be written, as before a switchover, workers are stopped.
func configure(config *pgx.ConnConfig, opts Options) error {
	if mode := config.DefaultQueryExecMode; mode == pgx.QueryExecModeSimpleProtocol || mode == pgx.QueryExecModeExec {
		return fmt.Errorf("parse database URL: default_query_exec_mode does not work with %q, which sends arrays and JSON"+
			" without their types: want cache_describe or describe_exec behind a pooler, or leave it away", mode)
	}
	idle := cmp.Or(opts.IdleInTransaction, IdleInTransaction)
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, connectTimeout)
	config.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive, Control: giveUp}).DialContext
	set := map[string]string{
		"application_name":                    cmp.Or(opts.Application, "casq"),
		"search_path":                         cmp.Or(opts.SearchPath, "pg_catalog, pg_temp"),
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
		"idle_in_transaction_session_timeout": strconv.FormatInt(idle.Milliseconds(), 10),
		"idle_session_timeout":                "0",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		// The server's end; see giveUp for this one.
		"tcp_keepalives_idle":     seconds(keepAlive.Idle),
		"tcp_keepalives_interval": seconds(keepAlive.Interval),
		"tcp_keepalives_count":    strconv.Itoa(keepAlive.Count),
		"tcp_user_timeout":        strconv.FormatInt(peerGone.Milliseconds(), 10),
		// A generic plan, made while a table was small, is kept for its
		// life: fetching jobs became quadratic in 5 of 9 runs, in none
		// with a plan per call.
		"plan_cache_mode": "force_custom_plan",
		// With jit_above_cost = 0 compiling takes longer than each statement of ours.
		"jit": "off",
		// Where a value comes or goes as text.
		"client_encoding":             "UTF8",
		"datestyle":                   "ISO",
		"intervalstyle":               "postgres",
		"bytea_output":                "hex",
		"extra_float_digits":          "1",
		"standard_conforming_strings": "on",
	}
	for name, value := range set {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	config.AfterConnect = setRest
	return nil
}

// setRest sets what a server may refuse to know, or to let this role set, when a
// session begins.
func setRest(ctx context.Context, conn *pgconn.PgConn) error {
	if _, err := conn.Exec(ctx, databaseSQL.Settings).ReadAll(); err != nil {
		return fmt.Errorf("set what the role or the database sets otherwise: %w", err)
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// giveUp has a socket's kernel give a peer up that does not acknowledge. By itself
// Linux sends again for 15 minutes, for as long as which a statement without a
// limit would hang on a machine that was switched off, while another one has taken
// over its address.
func giveUp(network, _ string, raw syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(peerGone.Milliseconds()))
	})
	return errors.Join(controlErr, err)
}

// Wait returns when the database answers, or ctx is done. It logs each failed
// try, since a program that waits silently looks hung.
func Wait(ctx context.Context, pool *pgxpool.Pool, name string, logger *slog.Logger) error {
	for {
		err := pool.Ping(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the database %s: %w", name, ctx.Err())
		}
		logger.WarnContext(ctx, problem(err), "database", name, "err", err) //nolint:sloglint // one of four
		_ = pause.For(ctx, time.Second)
	}
}

// Identity names a database, for what it shares with others, such as Redis. The
// name stays the same across a failover; a dump that was restored elsewhere has
// another.
func Identity(ctx context.Context, pool *pgxpool.Pool) (name string, err error) {
	if err := pool.QueryRow(ctx, databaseSQL.Identity).Scan(&name); err != nil {
		return "", fmt.Errorf("find out which database this is: %w", err)
	}
	return name, nil
}

// grantHint says what to run, and where: the error may be of either database.
const grantHint = "In that database casq's owner grants what a role needs: SELECT casq.grant_to('role', 'follower'), " +
	"for one that follows its log from another site; 'worker', for one that runs workers on it; 'operator', for one that runs enqueue on it"

// poolerHint is for a pooler that knows few settings. One that is told to ignore the
// others drops them: no time-out would end a session that is frozen with its locks.
const poolerHint = "A pooler in front of the database, such as PgBouncer, does not hand on the settings " +
	"that casq's sessions need: give casq a URL that leads to Postgres itself. " +
	"Do not add them to ignore_startup_parameters, which drops them"

// Explain is the text of err with all that Postgres has said with it: its DETAIL,
// and its HINT, which often names the remedy. Where there is no hint, and the role
// may not, it is what casq grants; where a pooler refused, what to connect to.
func Explain(err error) string {
	text := err.Error()
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return text
	}
	for _, more := range [][2]string{{"DETAIL", pgErr.Detail}, {"HINT", cmp.Or(pgErr.Hint, ownHint(pgErr))}} {
		if more[1] != "" && !strings.Contains(text, more[1]) {
			text += "; " + more[0] + ": " + more[1]
		}
	}
	return text
}

func ownHint(err *pgconn.PgError) string {
	switch {
	case refusedSetting(err):
		return poolerHint
	// Postgres tells a right and an owner that are missing apart by its text alone,
	// which lc_messages translates; there the hint is given for both.
	case err.Code == "42501" && strings.HasPrefix(err.Routine, "aclcheck_error") && !strings.HasPrefix(err.Message, "must be owner"):
		return grantHint
	default:
		return ""
	}
}

// refusedSetting tells whether a pooler did not know a setting with which a session
// was to begin. The text is PgBouncer's, which has no translations.
func refusedSetting(err *pgconn.PgError) bool {
	return err.Code == "08P01" && strings.HasPrefix(err.Message, "unsupported startup parameter")
}

// problem says what is wrong with a database that does not let one in.
func problem(err error) string {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	switch code := Code(err); {
	case pgErr != nil && refusedSetting(pgErr):
		return "pooler refuses the settings of casq's sessions, trying again"
	case strings.HasPrefix(code, "28"), code == "42501":
		return "database refuses the login, trying again"
	case code == "3D000":
		return "server has no such database, trying again"
	case code != "":
		return "database does not take connections, trying again"
	default:
		return "database is not reachable, trying again"
	}
}

// Code returns the SQLSTATE of err, or "" when Postgres did not give one.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// Passes tells whether an error of Postgres is about the state of the system, and
// may be over without anybody changing what was asked for, or of what: the classes
// 25 (a session that was ended, a server that is read-only), 40 (rolled back for
// the sake of others) and 53 (no resources).
func Passes(err error) bool {
	code := Code(err)
	return strings.HasPrefix(code, "25") || strings.HasPrefix(code, "40") || strings.HasPrefix(code, "53")
}

// Answered tells whether Postgres itself refused the statement: its
// transaction is rolled back for sure. Any other error leaves it open whether
// a commit took place. The classes 08 and 57 are the connection's end.
func Answered(err error) bool {
	code := Code(err)
	return len(code) == 5 && code[:2] != "08" && code[:2] != "57"
}

// Refused tells whether Postgres refused a statement because of what it was about, a
// table or a row, and would do so again. A statement that took too long is one: even a
// single row may be too much.
func Refused(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch Code(err) {
	case "57014", "25P03", "25P04": // see portion.TooMuch
		return true
	default:
		return Answered(err) && !Passes(err)
	}
}
