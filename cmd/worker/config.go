package main

import (
	"math"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/admin"
	"casq/internal/notify"
	"casq/internal/token"
	"casq/internal/worker"
	"casq/runner"
)

// longest is how long anything may be kept.
const longest = 10 * 365 * 24 * time.Hour

// config is what the environment says.
type config struct {
	worker.Config
	log cli.LogConfig
}

// readConfig reads the environment. The error names every variable that is
// wrong, with its value and what it may be.
func readConfig(env *cli.Env) (config, error) {
	requireHome(env)
	env.Needs("ARTIFACT_TARGET_URL", "ARTIFACT_SOURCE_URL", "the folder or bucket to copy from")
	env.Needs("REPOSITORY_TARGET_DIR", "REPOSITORY_SOURCE_URL", "a git URL with {key} in it, or the folder to copy from")
	env.PathNeeds("RUNNER_TLS_CERT", "RUNNER_TLS_KEY", "the file of its private key")
	env.PathNeeds("RUNNER_TLS_KEY", "RUNNER_TLS_CERT", "the file of the certificate, and those that it was signed with")
	env.Needs("SERVE_ADDR", "SERVE_DIR", "the folder of files that other sites may fetch")
	env.Needs("SERVE_ADDR", "SERVE_TOKEN", "who may fetch them, as name:secret")
	env.PathNeeds("SERVE_TLS_CERT", "SERVE_TLS_KEY", "the file of its private key")
	env.PathNeeds("SERVE_TLS_KEY", "SERVE_TLS_CERT", "the file of the certificate, and those that it was signed with")
	watchdog := time.Duration(env.Int("WATCHDOG_USEC", 1, math.MaxInt)) * time.Microsecond
	concurrency, kindConcurrency := env.KindInts("QUEUE_WORKERS", 1, 10_000)
	cfg := config{
		Config: worker.Config{
			HomeURL:            env.Database("DATABASE_URL"),
			ReplicaURLs:        env.Databases("REPLICA_DATABASE_URLS"),
			SourceURL:          env.Database("SOURCE_DATABASE_URL"),
			ReportURL:          env.Database("SOURCE_REPORT_URL"),
			RedisURL:           env.Redis("REDIS_URL"),
			ArtifactSource:     env.String("ARTIFACT_SOURCE_URL"),
			ArtifactToken:      env.String("ARTIFACT_SOURCE_TOKEN"),
			SourceCA:           env.Path("SOURCE_CA_FILE"),
			ArtifactTarget:     env.String("ARTIFACT_TARGET_URL"),
			RepositorySource:   env.String("REPOSITORY_SOURCE_URL"),
			RepositoryTarget:   env.String("REPOSITORY_TARGET_DIR"),
			GitEnvironment:     env.Pass("PATH", "HOME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
			ClaimTTL:           env.Duration("CLAIM_TTL", 3*time.Second, time.Hour),
			CursorLease:        env.Duration("CURSOR_LEASE", time.Second, 10*time.Minute),
			CursorWait:         env.Duration("CURSOR_WAIT", 10*time.Millisecond, time.Minute),
			Concurrency:        concurrency,
			KindConcurrency:    kindConcurrency,
			CopyRate:           env.Bytes("COPY_RATE"),
			Timeouts:           env.KindDurations("JOB_TIMEOUTS"),
			SizeLimits:         env.KindBytes("SIZE_LIMITS"),
			ReconcileInterval:  env.Duration("RECONCILE_INTERVAL", time.Minute, longest),
			VerifyInterval:     env.Duration("VERIFY_INTERVAL", time.Minute, longest),
			EventRetention:     env.Duration("EVENT_RETENTION", time.Minute, longest),
			TombstoneRetention: env.Duration("TOMBSTONE_RETENTION", time.Minute, longest),
			RefreshRetention:   env.Duration("REFRESH_RETENTION", time.Minute, longest),
			AuditRetention:     env.Duration("AUDIT_RETENTION", time.Minute, longest),
			JobRetention:       env.Duration("JOB_RETENTION", time.Minute, longest),
			HTTPAddr:           env.Address("HTTP_ADDR"),
			Manager:            notify.Manager{Socket: env.String("NOTIFY_SOCKET")},
			Watchdog:           watchdog,
			AdminAddr:          env.Address("ADMIN_ADDR"),
			AdminDoor:          readDoor(env),

			ServeAddr:        env.Address("SERVE_ADDR"),
			ServeDir:         env.String("SERVE_DIR"),
			ServeTokens:      cli.Parsed(env, "SERVE_TOKEN", token.Parse),
			ServeCertificate: env.Path("SERVE_TLS_CERT"),
			ServeKey:         env.Path("SERVE_TLS_KEY"),

			RunnerAddr:        env.Address("RUNNER_ADDR"),
			RunnerCertificate: env.Path("RUNNER_TLS_CERT"),
			RunnerKey:         env.Path("RUNNER_TLS_KEY"),
			RunnerArtifacts:   env.String("RUNNER_ARTIFACT_URL"),
			Runner: runner.Options{
				ReadPrimary: env.Choice("RUNNER_READS", "standby", "primary") == "primary",
				NoShortcut:  env.Choice("RUNNER_SHORTCUT", "on", "off") == "off",
				Hold:        env.Duration("RUNNER_HOLD", time.Second, 50*time.Second),
			},

			CounterShards:        env.Int("COUNTER_SHARDS", 1, 1024),
			FlushInterval:        env.Duration("FLUSH_INTERVAL", 100*time.Millisecond, time.Hour),
			RefreshConcurrency:   env.Int("REFRESH_CONCURRENCY", 1, 100),
			RefreshSnapshotLimit: env.Duration("REFRESH_SNAPSHOT_LIMIT", time.Second, 24*time.Hour),
			CounterCheckInterval: env.Duration("COUNTER_CHECK_INTERVAL", time.Minute, 365*24*time.Hour),
		},
		log: readLogConfig(env),
	}
	return cfg, env.Err()
}

// readDoor reads who may see the page, and who may act.
func readDoor(env *cli.Env) admin.Door {
	env.Needs("ADMIN_USER_HEADER", "ADMIN_TRUSTED_PROXIES", "the addresses of the proxies that set it")
	env.Needs("ADMIN_TRUSTED_PROXIES", "ADMIN_USER_HEADER", "the header in which they say who asks, such as X-Forwarded-User")
	return admin.Door{
		Tokens:     cli.Parsed(env, "ADMIN_TOKEN", token.Parse),
		UserHeader: env.String("ADMIN_USER_HEADER"),
		Proxies:    cli.Parsed(env, "ADMIN_TRUSTED_PROXIES", admin.ParseProxies),
	}
}

// readHomeConfig reads what commands need that work on home's database alone.
func readHomeConfig(env *cli.Env) (url string, log cli.LogConfig, err error) {
	requireHome(env)
	url, log = env.Database("DATABASE_URL"), readLogConfig(env)
	return url, log, env.Err()
}

func requireHome(env *cli.Env) {
	env.Require("DATABASE_URL", "the database of this worker, such as postgres://app@localhost/app")
}

func readLogConfig(env *cli.Env) cli.LogConfig {
	return cli.LogConfig{
		Format:   env.Choice("LOG_FORMAT", cli.LogText, cli.LogJSON),
		Level:    env.Level("LOG_LEVEL"),
		Warnings: env.Warnings(), // of all that was read before
	}
}
