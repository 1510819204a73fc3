package main

import "casq/cmd/internal/cli"

// config is what the environment says.
type config struct {
	homeURL     string
	replicaURLs []string
	sourceURL   string // "": the log is home's
	redisURL    string // "": counters are read as they were flushed
	log         cli.LogConfig
}

// readConfig reads the environment. The error names every variable that is
// wrong, with its value and what it may be.
func readConfig(env *cli.Env) (config, error) {
	env.Require("DATABASE_URL", "the database of the workers, such as postgres://app@localhost/app")
	cfg := config{
		homeURL:     env.Database("DATABASE_URL"),
		replicaURLs: env.Databases("REPLICA_DATABASE_URLS"),
		sourceURL:   env.Database("SOURCE_DATABASE_URL"),
		redisURL:    env.Redis("REDIS_URL"),
		log: cli.LogConfig{
			Format:   env.Choice("LOG_FORMAT", cli.LogText, cli.LogJSON),
			Level:    env.Level("LOG_LEVEL"),
			Warnings: env.Warnings(), // of all that was read before
		},
	}
	return cfg, env.Err()
}
