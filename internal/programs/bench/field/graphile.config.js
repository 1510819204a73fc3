// The settings that graphile-worker's own benchmark has, and the same without what they batch.
const batched = process.env.BENCH_BATCHED === "1";

module.exports = {
  worker: {
    connectionString: process.env.DATABASE_URL,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: batched ? { size: 500, refetchDelay: { durationMs: 10 } } : { size: -1 },
    completeJobBatchDelay: batched ? 0 : -1,
    failJobBatchDelay: batched ? 0 : -1,
  },
};
