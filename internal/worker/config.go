package worker

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"casq/internal/admin"
	"casq/internal/notify"
	"casq/internal/token"
	"casq/runner"
)

// Config is what a worker is told. Its roles follow from it: see [Run].
type Config struct {
	HomeURL   string // home's primary, read-write; required
	SourceURL string // the log to follow; may be a standby. Defaults to home
	// ReportURL is the primary of that log, where this site reports how far it
	// has read, so that the rest is kept. Empty: nowhere.
	ReportURL string
	RedisURL  string // optional, see [redisurl.Open]; nothing waits for it
	// ReplicaURLs are standbys of home: recounts scan them by preference.
	ReplicaURLs []string

	ArtifactSource   string // folder, bucket URL, or https://
	ArtifactToken    string // by which an https:// source knows us
	ArtifactTarget   string // folder or bucket URL; empty: this worker copies no files
	RepositorySource string // git URL template or folder
	RepositoryTarget string // folder; empty: this worker copies no repositories
	// SourceCA is the file of the certificates of who may sign those of https:// sources, of
	// files and of repositories; empty: whom this machine trusts.
	SourceCA string
	// WithoutSources says that a folder of a source which is not there is not waited for:
	// what is to be copied from it fails, and everything else goes on.
	WithoutSources bool
	// GitEnvironment is all that git is given of the environment, as NAME=value.
	GitEnvironment []string

	Version string // of the program, for those who ask home which are at work

	Migrate bool // bring home up to date before anything else

	ClaimTTL    time.Duration // see registry.ProcessConfig; 30 s
	CursorLease time.Duration // see cursor.Config; 30 s
	CursorWait  time.Duration // see cursor.Config; 2 s
	Concurrency int           // runs at once, per queue; 100
	// KindConcurrency is likewise, by kind. Kinds that share a queue share its
	// runs: the smallest number that is set for one of them counts, so that none
	// has more than is set for it.
	KindConcurrency map[string]int
	// CopyRate limits how many bytes a second all copies of files together read.
	// 0 is no limit. Repositories are not limited.
	CopyRate int64
	PageSize int // events per batch; 5000

	CounterShards        int           // see counter.Config; 16
	FlushInterval        time.Duration // see counter.Config; 1 s
	RefreshConcurrency   int           // see counter.Config; 2
	RefreshSnapshotLimit time.Duration // see counter.Config; 20 s
	CounterCheckInterval time.Duration // see counter.Config; 1 hour

	Timeouts map[string]time.Duration // of one run, by kind; none
	// SizeLimits are how many bytes a resource may have, by kind; none.
	SizeLimits map[string]int64

	PublishTimeout time.Duration // see registry.Config; 3 s

	ReconcileInterval time.Duration // between two full comparisons; 24 h
	VerifyInterval    time.Duration // until what is in place is compared again; 168 h

	EventRetention     time.Duration // see retention.Config; 168 h
	TombstoneRetention time.Duration // see retention.Config; 168 h
	RefreshRetention   time.Duration // of recounts, see retention.Config; 720 h
	AuditRetention     time.Duration // of who asked for what, see retention.Config; 8760 h
	JobRetention       time.Duration // of completed jobs; 1 h

	// RunnerAddr is where CI runners ask for builds; empty: nowhere. With
	// RunnerCertificate and RunnerKey, which are files, over TLS.
	RunnerAddr, RunnerCertificate, RunnerKey string
	// RunnerArtifacts is the folder or bucket URL that keeps the files of builds; empty:
	// none are taken.
	RunnerArtifacts string
	// Runner says how builds are handed out. Standbys, Artifacts, Logger and Hook follow
	// from the rest.
	Runner runner.Options

	// ServeAddr is where other sites fetch the files of the folder ServeDir, each with one of
	// ServeTokens; empty: nowhere. With ServeCertificate and ServeKey, which are files, over TLS.
	ServeAddr, ServeDir, ServeCertificate, ServeKey string
	ServeTokens                                     []token.Token

	// AdminAddr is where the page for operators is; empty: nowhere. AdminDoor says who
	// may see it, and who may act.
	AdminAddr string
	AdminDoor admin.Door

	HTTPAddr string // of /livez, /readyz and /metrics; empty: none
	Logger   *slog.Logger

	// Manager is told how the worker is; the zero value is nobody. Watchdog is how soon
	// it ends a worker that does not say that it makes progress; 0: never.
	Manager  notify.Manager
	Watchdog time.Duration

	// Hook is called at named points of cursor, registry and transfer, for
	// tests that stop there.
	Hook func(point string)
	// TestJobTimeout is for tests: River's own limit for jobs whose workers
	// set none. Defaults to River's minute.
	TestJobTimeout time.Duration
	// TestQueuesEvery is for tests: how often is looked for kinds whose queues are not served
	// yet. Defaults to a second.
	TestQueuesEvery time.Duration
}

// StopTimeout is how long Run takes to stop, at most: what runs then has three
// seconds to end, and is given back otherwise.
const (
	StopTimeout = 10 * time.Second
	softStop    = 3 * time.Second
)

func (c Config) withDefaults() Config {
	c.SourceURL = cmp.Or(c.SourceURL, c.HomeURL)
	c.Version = cmp.Or(c.Version, "unknown")
	c.ClaimTTL = cmp.Or(c.ClaimTTL, 30*time.Second)
	c.Concurrency = cmp.Or(c.Concurrency, 100)
	c.JobRetention = cmp.Or(c.JobRetention, time.Hour)
	c.ReconcileInterval = cmp.Or(c.ReconcileInterval, 24*time.Hour)
	c.VerifyInterval = cmp.Or(c.VerifyInterval, 7*24*time.Hour)
	c.RefreshConcurrency = cmp.Or(c.RefreshConcurrency, 2)
	c.TestQueuesEvery = cmp.Or(c.TestQueuesEvery, time.Second)
	if c.Hook == nil {
		c.Hook = func(string) {}
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.HomeURL == "" {
		errs = append(errs, errors.New("home has no URL"))
	}
	if c.ArtifactTarget != "" && c.ArtifactSource == "" {
		errs = append(errs, errors.New("files have a target and no source"))
	}
	if c.RepositoryTarget != "" && c.RepositorySource == "" {
		errs = append(errs, errors.New("repositories have a target and no source"))
	}
	if (c.RunnerCertificate == "") != (c.RunnerKey == "") {
		errs = append(errs, errors.New("of a certificate and its key for runners there is only one"))
	}
	if (c.ServeCertificate == "") != (c.ServeKey == "") {
		errs = append(errs, errors.New("of a certificate and its key for other sites there is only one"))
	}
	if c.ServeAddr != "" && (c.ServeDir == "" || len(c.ServeTokens) == 0) {
		errs = append(errs, errors.New("files are served to other sites without a folder, or without a token"))
	}
	return errors.Join(errs...)
}

// copies tells whether this worker has a target, and so follows the log.
func (c Config) copies() bool { return c.ArtifactTarget != "" || c.RepositoryTarget != "" }
