// Package s3test is an S3 server for tests: one process-local server per test,
// over HTTP, whose requests can be refused, or carried out late.
package s3test
