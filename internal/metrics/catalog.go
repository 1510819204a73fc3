package metrics

import "github.com/prometheus/client_golang/prometheus"

// Family is what has one name. Names, types and labels are a promise to dashboards and
// alerts: docs/metrics.md lists them, and a test compares the two.
type Family struct {
	Name, Type, Help string
	Labels           []string
}

// The types of families.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// counted are the families that this process counts as it works. They begin at 0 with it.
var counted = []Family{
	{"casq_events_applied_total", counter, "Events that the registry has applied.", []string{"kind", "op"}},
	{"casq_claims_total", counter, "Claims that runs took.", []string{"kind"}},
	{"casq_runs_total", counter, "Runs, by how they ended.", []string{"kind", "outcome"}},
	{"casq_runs_missing_total", counter, "Runs that failed because the source does not have the resource.", []string{"kind"}},
	{"casq_copied_bytes_total", counter, "Bytes that runs copied.", []string{"kind"}},
	{"casq_verifications_total", counter, "Resources whose bytes were compared, by what was found.", []string{"kind", "outcome"}},
	{"casq_probes_total", counter, "Resources that were compared with their source at their kind's pace, by what was found.", []string{"kind", "outcome"}},
	{"casq_jobs_inserted_total", counter, "Jobs that were queued, those of transactions that rolled back included.", []string{"queue", "job"}},
	{"casq_jobs_worked_total", counter, "Jobs that were worked on, by how that ended for the queue.", []string{"queue", "job", "outcome"}},
	{"casq_job_duration_seconds", histogram, "How long a job was worked on.", []string{"job"}},
	{"casq_job_fetches_total", counter, "Fetches of jobs, empty ones included.", []string{"queue"}},
	{"casq_job_fetch_seconds_total", counter, "Time spent in fetches of jobs.", []string{"queue"}},
	{"casq_jobs_fetched_total", counter, "Jobs that were fetched.", []string{"queue"}},
	{"casq_counters_drift_total", counter, "Comparisons that found counters to differ from their table.", []string{"kind"}},
	{"casq_build_picks_total", counter, "Looks into the build queue on the primary, by outcome.", []string{"outcome"}},
	{"casq_build_pickup_seconds", histogram, "From when a build could be picked until it was handed to a runner.", nil},
	{"casq_served_requests_total", counter, "Requests of other sites for files, by outcome.", []string{"outcome"}},
	{"casq_served_bytes_total", counter, "Bytes of files that were sent to other sites.", nil},
	{"casq_metrics_queries_total", counter, "Queries that were made for metrics, by sample and outcome.", []string{"sample", "outcome"}},
	{"casq_metrics_query_seconds_total", counter, "Time spent in queries for metrics.", []string{"sample"}},
}

// sampled are the families that are read of home, and of this machine, now and then.
var sampled = []Family{
	{"casq_registry_resources", gauge, "Resources, by status.", []string{"kind", "status"}},
	{"casq_registry_bytes", gauge, "Bytes of resources, by status.", []string{"kind", "status"}},
	{"casq_registry_oldest_seconds", gauge, "For how long the oldest resource that is not in place has been wanted.", []string{"kind"}},
	{"casq_queue_jobs", gauge, "Jobs in the queue, at most 10000 of each.", []string{"queue", "state"}},
	{"casq_queue_oldest_seconds", gauge, "For how long the oldest job could have run, or, if it runs, has.", []string{"queue", "state"}},
	{"casq_queue_paused", gauge, "1 for a queue that is paused.", []string{"queue"}},
	{"casq_tick_age_seconds", gauge, "Since the newest tick of home's log.", nil},
	{"casq_log_events_total", counter, "Events of home's log, those that were rolled back included.", nil},
	{"casq_followers", gauge, "Sites that report how far they have read home's log.", nil},
	{"casq_follower_oldest_report_seconds", gauge, "Since the report of the follower that is silent for longest.", nil},
	{"casq_cursor_beat_age_seconds", gauge, "Since the cursor's last sign of life.", []string{"cursor"}},
	{"casq_cursor_held", gauge, "1 while a session holds the cursor.", []string{"cursor"}},
	{"casq_cursor_lag_seconds", gauge, "By how much the cursor is behind the log, 0 when it has all.", []string{"cursor"}},
	{"casq_replication_lag_seconds", gauge, "Age of the oldest change that is committed at the source, and not in place here.", []string{"kind"}},
	{"casq_replication_stage_lag_seconds", gauge, "Age of the oldest change in a stage of its way, since it came there.", []string{"kind", "stage"}},
	{"casq_problems", gauge, "Problems that casq.health() names, by severity.", []string{"severity"}},
	{"casq_counters_lag_seconds", gauge, "Age of the oldest event that is not in the counters, that in Redis included.", nil},
	{"casq_counters_shards", gauge, "Shards of the counters.", nil},
	{"casq_counters_exact", gauge, "1 for a kind whose counters are exact.", []string{"kind"}},
	{"casq_recounts_open", gauge, "Recounts that are not over.", []string{"kind"}},
	{"casq_recount_scanned_rows", gauge, "Rows that recounts which are not over have summed up.", []string{"kind"}},
	{"casq_recount_oldest_seconds", gauge, "Since the oldest recount that is not over was asked for.", []string{"kind"}},
	{"casq_reconcile_resources", gauge, "What the newest comparison with the source that is over has found.", []string{"kind", "result"}},
	{"casq_reconcile_age_seconds", gauge, "Since that comparison ended.", []string{"kind"}},
	{"casq_reconciles_open", gauge, "Comparisons with the source that are not over.", nil},
	{"casq_view_followed", gauge, "1 for a tracked view all of which is followed.", []string{"kind"}},
	{"casq_view_rows_failed", gauge, "Rows of a tracked view that are not followed, at most 10000.", []string{"kind"}},
	{"casq_view_rows_waiting", gauge, "Rows of a tracked view that wait to be evaluated, at most 10000.", []string{"kind"}},
	{"casq_dead_letters", gauge, "Events that were dead-lettered and not replayed, at most 10000.", []string{"kind"}},
	{"casq_workers", gauge, "Workers that have given a sign of life lately.", nil},
	{"casq_processes", gauge, "Worker processes that are alive.", nil},
	{"casq_process_oldest_beat_seconds", gauge, "Since the last sign of life of the process that is silent for longest.", nil},
	{"casq_builds", gauge, "Builds, by state, at most 10000 of each.", []string{"state"}},
	{"casq_build_oldest_seconds", gauge, "For how long the oldest build has been waiting, or handed out and not begun.", []string{"state"}},
	{"casq_runners", gauge, "Runners that are not paused.", nil},
	{"casq_postgres_oldest_transaction_seconds", gauge, "Since the oldest transaction that home's role sees began.", nil},
	{"casq_postgres_oldest_snapshot_transactions", gauge, "Transactions that began since the oldest snapshot which is held.", nil},
	{"casq_postgres_all_visible", gauge, "1 if home's role sees the transactions of all sessions.", nil},
	{"casq_postgres_slot_retained_bytes", gauge, "Log that the replication slot furthest behind keeps.", []string{"active"}},
	{"casq_postgres_rows", gauge, "Rows of a table, as Postgres estimates.", []string{"table"}},
	{"casq_postgres_dead_rows", gauge, "Dead rows of a table, as Postgres estimates.", []string{"table"}},
	{"casq_target_free_bytes", gauge, "Free bytes where a target is, of a folder.", []string{"transfer"}},
	{"casq_target_size_bytes", gauge, "Bytes of the file system of a target, of a folder.", []string{"transfer"}},
}

// present are the families that are read of this process's memory when asked.
var present = []Family{
	{"casq_role_ready", gauge, "1 for a role of this worker that does its part, 0 for one that does not.", []string{"role"}},
	{"casq_build_requests_waiting", gauge, "Requests of runners that wait for a build.", nil},
	{"casq_pool_connections", gauge, "Connections of a pool, by state.", []string{"pool", "state"}},
	{"casq_pool_max_connections", gauge, "Connections that a pool may have.", []string{"pool"}},
	{"casq_pool_acquires_total", counter, "Connections that were taken from a pool.", []string{"pool"}},
	{"casq_pool_acquire_wait_seconds_total", counter, "Time in which somebody waited for a connection of a pool.", []string{"pool"}},
	{"casq_pool_empty_acquires_total", counter, "Connections that had to be waited for.", []string{"pool"}},
	{"casq_metrics_sample_age_seconds", gauge, "Since a sample was taken: its values are from then.", []string{"sample"}},
}

// Catalog returns all families of this package.
func Catalog() []Family {
	var all []Family
	for _, families := range [][]Family{counted, sampled, present} {
		all = append(all, families...)
	}
	return all
}

// constant describes a family whose values are made when they are asked for.
type constant struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func constants(families []Family) map[string]constant {
	all := make(map[string]constant, len(families))
	for _, f := range families {
		kind := prometheus.GaugeValue
		if f.Type == counter {
			kind = prometheus.CounterValue
		}
		all[f.Name] = constant{prometheus.NewDesc(f.Name, f.Help, f.Labels, nil), kind}
	}
	return all
}

func (c constant) with(value float64, labels ...string) (prometheus.Metric, error) {
	return prometheus.NewConstMetric(c.desc, c.kind, value, labels...)
}
