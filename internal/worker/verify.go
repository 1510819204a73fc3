package worker

import (
	"time"

	"casq/jobs"

	"github.com/riverqueue/river"
)

// verifyWorkers is how many verifications of a transfer run at once. They read
// all that there is, at their leisure, and leave the disks to the copies.
const verifyWorkers = 4

// fixedQueues are those that do not depend on which kinds there are.
func (w *worker) fixedQueues() map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	for transfer := range w.movers.byTransfer {
		queues[jobs.VerifyQueue(transfer)] = river.QueueConfig{MaxWorkers: verifyWorkers, FetchPollInterval: time.Second}
	}
	return queues
}
