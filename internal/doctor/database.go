package doctor

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"casq/internal/database"
	"casq/internal/queries"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed doctor.sql
var doctorText string

var doctorSQL = queries.Parse[struct{ Server, Received, Health, Target, Tracked, Lacking string }]("doctor", doctorText)

// The versions of Postgres that casq is tested with.
const (
	oldestPostgres = 15
	newestPostgres = 18
)

// server is a database that was looked at.
type server struct {
	pool     *pgxpool.Pool // nil: it does not answer
	version  int           // major
	recovery bool
	system   int64 // which cluster
	role     string
	triggers int
	readOnly bool
	fits     bool // its schema is one that this program works on
}

func (s *server) close() {
	if s.pool != nil {
		s.pool.Close()
	}
}

// database looks at what is asked of each database alike. The pool is nil when it does
// not answer.
func (d *doctor) database(ctx context.Context, subject, url string) *server {
	s := &server{}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	pool, err := database.Open(ctx, url, database.Options{Application: "casq doctor", MaxConns: 2})
	if err == nil {
		var number int
		err = pool.QueryRow(ctx, doctorSQL.Server).Scan(&number, &s.recovery, &s.system, &s.role, &s.triggers, &s.readOnly)
		s.version = number / 10_000
		if err != nil {
			pool.Close()
		}
	}
	if err != nil {
		d.add(subject, "connection", Error, "start it, or correct its URL, its password, pg_hba.conf or the network", "%s", database.Explain(err))
		d.skip(subject, "it does not answer", "version", "schema", "clock")
		return s
	}
	s.pool = pool
	d.ok(subject, "connection", "as role %s", s.role)
	switch {
	case s.version < oldestPostgres:
		d.add(subject, "version", Error, fmt.Sprintf("upgrade it to %d or newer", oldestPostgres), "Postgres %d", s.version)
	case s.version > newestPostgres:
		d.add(subject, "version", Warning, "look for a newer release of casq", "Postgres %d; casq is tested with %d to %d", s.version, oldestPostgres, newestPostgres)
	default:
		d.ok(subject, "version", "Postgres %d", s.version)
	}
	d.schema(ctx, subject, s)
	d.clock(ctx, subject, s)
	return s
}

func (d *doctor) schema(ctx context.Context, subject string, s *server) {
	err := migrations.Check(ctx, s.pool)
	switch {
	case err == nil:
		s.fits = true
		d.ok(subject, "schema", "this program works on it")
	case migrations.Unfit(err):
		d.add(subject, "schema", Error, "worker migrate up, by the newer of the two programs (docs/upgrade.md)", "%s", err)
	default:
		d.add(subject, "schema", Error, "casq's owner there: SELECT casq.grant_to(...), see Roles in docs/operations.md", "%s", database.Explain(err))
	}
}

// clockApart is how far clocks may be apart before it is worth a word: nothing is
// decided by them, but ages that are shown are off by as much.
const clockApart = time.Second

// clock compares the clocks: the database's time is of some moment between the question
// and its answer. Of five answers the quickest counts.
func (d *doctor) clock(ctx context.Context, subject string, s *server) {
	var apart, uncertain time.Duration
	for i := range 5 {
		var there time.Time
		asked := time.Now()
		err := s.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there)
		half := time.Since(asked) / 2
		if err != nil {
			d.skip(subject, database.Explain(err), "clock")
			return
		}
		if i == 0 || half < uncertain {
			apart, uncertain = there.Sub(asked.Add(half)), half
		}
	}
	found := fmt.Sprintf("the database's is %s ahead of this machine's, give or take %s", apart.Round(time.Microsecond), uncertain.Round(time.Microsecond))
	if apart.Abs() > clockApart+uncertain {
		d.add(subject, "clock", Warning, "have both machines set their clocks by NTP: timedatectl set-ntp true", "%s", found)
		return
	}
	d.ok(subject, "clock", "%s", found)
}

// home looks at what only home is asked for.
func (d *doctor) home(ctx context.Context, s *server) {
	const mayNot = "its schema does not fit"
	switch {
	case s.pool == nil:
		d.skip(Home, "it does not answer", "primary", "permissions", "event triggers", "health")
		return
	case s.recovery:
		d.add(Home, "primary", Error, "name the primary in its URL", "it is a standby")
		d.skip(Home, "it is a standby", "permissions", "event triggers", "health")
		return
	case s.readOnly:
		d.add(Home, "primary", Error, "take default_transaction_read_only out of its URL", "its sessions are read-only")
	default:
		d.ok(Home, "primary", "it is one")
	}
	if !s.fits {
		d.skip(Home, mayNot, "permissions", "event triggers", "health")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	d.permissions(ctx, Home, s, "worker", workerTrials)
	d.eventTriggers(ctx, s)
	d.health(ctx, s)
}

// allTriggers is how many event triggers casq has.
const allTriggers = 3

func (d *doctor) eventTriggers(ctx context.Context, s *server) {
	var tracked int
	if err := s.pool.QueryRow(ctx, doctorSQL.Tracked).Scan(&tracked); err != nil {
		d.skip(Home, database.Explain(err), "event triggers")
		return
	}
	switch {
	case s.triggers == allTriggers:
		d.ok(Home, "event triggers", "all are there")
	case tracked == 0:
		d.ok(Home, "event triggers", "not needed: no table is tracked here")
	default:
		d.add(Home, "event triggers", Warning, "as a superuser, once: SELECT casq.install_event_trigger()",
			"%d of %d are there: partitioned tables cannot be tracked, and DDL on tracked ones is found later instead of refused", s.triggers, allTriggers)
	}
}

// health says what the site says of itself: replication, slots, transactions, queues.
// None of it keeps a worker from working, and some of it is that none works.
func (d *doctor) health(ctx context.Context, s *server) {
	rows, err := s.pool.Query(ctx, doctorSQL.Health)
	if err != nil {
		d.skip(Home, database.Explain(err), "health")
		return
	}
	type problem struct{ Severity, What, Command string }
	problems, err := pgx.CollectRows(rows, pgx.RowToStructByPos[problem])
	if err != nil {
		d.skip(Home, database.Explain(err), "health")
		return
	}
	for _, p := range problems {
		if p.Severity == "notice" {
			d.add(Home, "health", OK, p.Command, "%s", p.What)
			continue
		}
		d.add(Home, "health", Warning, p.Command, "%s: %s", p.Severity, p.What)
	}
	if len(problems) == 0 {
		d.ok(Home, "health", "SELECT * FROM casq.health() has no problem")
	}
}

// source looks at the log that is followed, and where is reported how far.
func (d *doctor) source(ctx context.Context) {
	if d.cfg.SourceURL == "" || d.cfg.SourceURL == d.cfg.HomeURL {
		d.skip(Source, "the log is home's own", "connection")
		return
	}
	s := d.database(ctx, Source, d.cfg.SourceURL)
	defer s.close()
	if s.fits {
		ctx, cancel := context.WithTimeout(ctx, answerIn)
		defer cancel()
		d.permissions(ctx, Source, s, "follower", followerTrials)
	} else {
		d.skip(Source, "its schema is not read", "permissions")
	}
	if s.pool != nil && s.recovery {
		d.receives(ctx, Source, s)
	}
	d.report(ctx, s)
}

// report looks at where this site reports how far it has read.
func (d *doctor) report(ctx context.Context, source *server) {
	if d.cfg.ReportURL == "" {
		d.add(Report, "connection", Warning, "set it, so that the source keeps what this site has not read",
			"it is not set: what is older than the source's retention may be gone before it is read")
		return
	}
	s := d.database(ctx, Report, d.cfg.ReportURL)
	defer s.close()
	switch {
	case s.pool == nil:
		return
	case s.recovery:
		d.add(Report, "primary", Error, "name the primary of the source in its URL", "it is a standby: nothing can be reported there")
		return
	case source.pool != nil && source.system != s.system:
		d.add(Report, "same cluster", Error, "name the primary of the source in its URL", "it is another cluster than the source")
		return
	case !s.fits:
		d.skip(Report, "its schema is not read", "permissions")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	d.permissions(ctx, Report, s, "follower", reportTrials)
}

// standbys looks at home's.
func (d *doctor) standbys(ctx context.Context, home *server) {
	for i, url := range d.cfg.ReplicaURLs {
		name := fmt.Sprintf("%s %d", Standby, i+1)
		s := d.database(ctx, name, url)
		switch {
		case s.pool == nil:
		case !s.recovery:
			d.add(name, "standby", Warning, "take it out of the list, or name a standby", "it is a primary: reads there spare nobody")
		case home.pool != nil && home.system != s.system:
			d.add(name, "standby", Error, "name a standby of home", "it is of another cluster than home")
		default:
			d.receives(ctx, name, s)
		}
		s.close()
	}
}

// behindBytes is how much WAL a standby may have received and not replayed.
const behindBytes = 64 << 20

// receives looks at whether a standby gets what its primary writes. What one hides from
// roles without pg_monitor is not guessed at.
func (d *doctor) receives(ctx context.Context, subject string, s *server) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	var receiving bool
	var behind int64
	if err := s.pool.QueryRow(ctx, doctorSQL.Received).Scan(&receiving, &behind); err != nil {
		d.skip(subject, database.Explain(err), "replication")
		return
	}
	switch {
	case !receiving:
		d.add(subject, "replication", Warning, "look at the standby's log, and at primary_conninfo", "it receives nothing from a primary, unless it reads an archive")
	case behind > behindBytes:
		d.add(subject, "replication", Warning, "end long reads there, or give it faster disks", "%d MiB are received and not replayed", behind>>20)
	default:
		d.ok(subject, "replication", "it receives, and has %d bytes to replay", behind)
	}
}
