-- No kind's counters are exact from here on. Returns the kinds to be recounted.
WITH ended AS (
    UPDATE casq.counter_kinds SET complete = false, generation = generation + 1
    RETURNING kind
)
SELECT e.kind FROM ended AS e
JOIN casq.tracked AS t ON t.kind = e.kind AND t.scope_column IS NOT NULL
ORDER BY e.kind
