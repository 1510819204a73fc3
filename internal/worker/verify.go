package worker

import (
	"casq/jobs"

	"github.com/riverqueue/river"
)

const (
	// verifyWorkers is how many verifications of a transfer run at once. They read
	// all that there is, at their leisure, and leave the disks to the copies.
	verifyWorkers = 4
	// defaultWorkers is for the queue that a River client has in any case.
	defaultWorkers = 1
)

// fixedQueues are those that do not depend on which kinds there are, with how
// many runs each has at once.
func (w *worker) fixedQueues() map[string]int {
	queues := map[string]int{river.QueueDefault: defaultWorkers, jobs.RequestQueue: 1}
	for transfer := range w.movers.byTransfer {
		queues[jobs.VerifyQueue(transfer)] = verifyWorkers
	}
	return queues
}
