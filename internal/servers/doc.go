// Package servers starts private Postgres clusters and Redis servers for tests,
// demonstrations and development, from the programs found on the machine.
package servers
