// Package metrics is what a worker tells Prometheus.
//
// A scrape is answered from memory, and never waits for a database. What is told is of
// three sorts:
//
//   - counted: what this process does, counted where it happens. The packages that do it
//     know nothing of this one: they call functions that internal/worker gives them.
//   - sampled: what home's database, and the targets' file systems, say every 15 s.
//   - present: what is in this process's memory at the time of the scrape.
//
// docs/metrics.md lists the families. There is one for each question, with a label for
// the kind, and never a family for a kind. No label is an id: its values are kinds, queues,
// and words of this code.
//
// # What monitoring costs
//
// A sample reads no more the more a table has. Counts of the registry are kept by the
// registry. Jobs, builds and dead letters are counted along an index up to 10,000, beyond
// which the number says nothing that an operator would do anything else for.
// A statement may take 5 s, and a round is followed by a pause of 50 times what it took, a
// minute at most: a database that is slow is asked less, and one that was away, or had a
// table locked, is seen again a minute after that.
//
// Each worker samples for itself. One that sampled for all would have to be chosen and
// watched, and what it found kept in a table that others read, which is no cheaper than
// the samples: twelve statements a round, of some index look-ups. So each /metrics
// is complete, whatever became of the other workers. What is sampled is the same at
// each: alerts take the maximum of it, and sum up what is counted.
//
// # When home does not answer
//
// What was sampled last is told for three minutes more, and then is absent: alerts take the
// maximum of all workers, and one worker that is cut off from home must not hold up an alert
// on what is over. casq_metrics_sample_age_seconds says how old a sample is, also when it is
// not told any more. An alert on that comes before all others, which say nothing then.
package metrics
