// Package promreplica tells Prometheus where package replica has sent statements, and why:
//
//	prometheus.MustRegister(promreplica.Collector(db))
//
// It counts nothing itself: each scrape reads [replica.DB.Counts], which is in memory. A
// program with several of them registers each with a label of its own
// ([prometheus.WrapRegistererWith]). The families are listed in docs/metrics.md.
package promreplica

import (
	"casq/replica"

	"github.com/prometheus/client_golang/prometheus"
)

// Counter is a [replica.DB].
type Counter interface{ Counts() replica.Counts }

// words are the values of the label reason.
var words = map[replica.Reason]string{
	replica.NothingWatched: "nothing_watched", replica.CaughtUp: "caught_up", replica.Waited: "waited",
	replica.NoneCaughtUp: "none_caught_up", replica.AfterWrite: "after_write", replica.BeingWritten: "being_written",
	replica.Floor: "floor", replica.StoreAway: "store_away", replica.Timeline: "timeline", replica.ForeignToken: "foreign_token",
	replica.Pinned: "pinned", replica.NoStandby: "no_standby", replica.Refused: "refused", replica.NoSession: "no_session",
	replica.Write: "write",
}

var (
	statements = prometheus.NewDesc("casq_replica_statements_total", "Statements that were sent, by host and by why it was chosen.", []string{"host", "reason"}, nil)
	unmarked   = prometheus.NewDesc("casq_replica_unmarked_commits_total", "Commits of watched objects that could not be noted in the store first.", nil, nil)
	unresolved = prometheus.NewDesc("casq_replica_unresolved_commits_total", "Commits whose answer, or position, was lost.", nil, nil)
	retried    = prometheus.NewDesc("casq_replica_retried_reads_total", "Reads that went to another host after an error of the first.", nil, nil)
	audits     = prometheus.NewDesc("casq_replica_audits_total", "Reads that were compared with the primary, by outcome.", []string{"outcome"}, nil)
)

// Collector returns what db has counted, as it is at each scrape.
func Collector(db Counter) prometheus.Collector { return collector{db} }

type collector struct{ db Counter }

// Describe implements [prometheus.Collector].
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{statements, unmarked, unresolved, retried, audits} {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. What has not happened yet is told as 0, so that
// its first increase is one.
func (c collector) Collect(to chan<- prometheus.Metric) {
	counts := c.db.Counts()
	tell := func(desc *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	for reason, word := range words {
		host := "primary"
		if reason.Standby() {
			host = "standby"
		}
		tell(statements, counts.Choices[reason], host, word)
	}
	tell(unmarked, counts.Unmarked)
	tell(unresolved, counts.Unresolved)
	tell(retried, counts.Retried)
	tell(audits, counts.Audits.Same, "same")
	tell(audits, counts.Audits.Undecided, "undecided")
	tell(audits, counts.Audits.Violations, "violation")
}
