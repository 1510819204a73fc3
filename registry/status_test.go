package registry_test

import (
	"strings"
	"testing"

	"casq/registry"
)

// Every status, and what casq.why says to it.
func TestStatusAndWhy(t *testing.T) {
	t.Parallel()
	const (
		live   = "claim = gen_random_uuid(), claim_process = (SELECT id FROM casq.processes WHERE dead_at IS NULL), claim_job = 41"
		dead   = "claim = gen_random_uuid(), claim_process = (SELECT id FROM casq.processes WHERE dead_at IS NOT NULL), claim_job = 42"
		nobody = "claim = gen_random_uuid(), claim_process = gen_random_uuid()"
		gone   = "deleted_at = now()"
		synced = "synced_version = version, verified_at = now()"
		older  = "synced_version = version - 1"
		failed = "failed_version = version, last_error = 'no source', attempts = 3"
		retry  = "retry_at = '2030-01-01'"
		due    = "retry_at = '2020-01-01'"
		absent = "missing_since = '2021-01-01'"
	)
	tests := map[string]struct {
		set    []string // of the row
		job    string   // state of a River job of the row's version
		status string
		why    []string // what it has to say
		not    string   // and what not
	}{
		"pending":                     {nil, "available", "pending", []string{"nothing is in place", "is available in queue resource"}, "enqueue"},
		"pending, job retries":        {nil, "retryable", "pending", []string{"is retryable in queue"}, "enqueue"},
		"pending, job runs":           {nil, "running", "pending", []string{"is running in queue"}, "enqueue"},
		"pending, an older copy":      {[]string{older}, "available", "pending", []string{"in place is version"}, "nothing is in place"},
		"pending, an older failure":   {[]string{"failed_version = version - 1, last_error = 'old'"}, "available", "pending", nil, "old"},
		"pending, no job":             {nil, "", "pending", []string{"it has no job (a reconcile, or enqueue resync, queues one)"}, "queue resource"},
		"pending, job is over":        {nil, "completed", "pending", []string{"it has no job"}, "completed"},
		"pending, dead claim":         {[]string{dead}, "", "pending", []string{"died while it worked on it, the sweep will hand it on"}, "no job"},
		"pending, unknown process":    {[]string{nobody}, "", "pending", []string{"died while it worked on it"}, "no job"},
		"started":                     {[]string{live}, "", "started", []string{"job 41 works on it in process", "on host1"}, "no job"},
		"started, another waits":      {[]string{live}, "available", "started", []string{"job 41 works on it", "is available in queue"}, ""},
		"started, failed before":      {[]string{live, failed}, "", "started", []string{"job 41 works on it", "an attempt before ended with: no source"}, "by itself"},
		"started, synced before":      {[]string{live, older}, "", "started", []string{"in place is version"}, ""},
		"failed":                      {[]string{failed}, "", "failed", []string{"attempt 3 ended with: no source", "not tried again by itself (enqueue resync --failed)"}, "no job"},
		"failed, tried again":         {[]string{failed, retry}, "retryable", "failed", []string{"next attempt at 2030", "is retryable"}, "not tried"},
		"failed, its time has come":   {[]string{failed, due}, "retryable", "failed", []string{"the next attempt was due at 2020", "is retryable"}, "no job"},
		"failed, its job is gone":     {[]string{failed, retry}, "", "failed", []string{"next attempt at 2030", "it has no job"}, "by itself"},
		"failed, and handed on":       {[]string{failed}, "available", "failed", []string{"it is tried again", "is available"}, "by itself"},
		"failed, missing":             {[]string{failed, retry, absent}, "scheduled", "failed", []string{"the source does not have it, seen first at 2021", "next attempt at 2030", "is scheduled"}, "no job"},
		"missing before":              {[]string{absent, "failed_version = version - 1"}, "available", "pending", nil, "does not have"},
		"missing, and looked for":     {[]string{failed, absent, live}, "", "started", []string{"seen first at 2021"}, "no job"},
		"synced, missing before":      {[]string{failed, absent, synced}, "", "synced", nil, "2021"},
		"claimed by no job":           {[]string{live, "claim_job = NULL"}, "", "started", []string{"job of an unknown number works on it"}, "no job"},
		"failed, dead claim":          {[]string{failed, dead}, "", "failed", []string{"sweep", "no source"}, "by itself"},
		"failed, nothing is known":    {[]string{"failed_version = version"}, "", "failed", []string{"ended with: an error that is not known"}, ""},
		"synced":                      {[]string{synced}, "", "synced", []string{"in place since"}, "no job"},
		"synced, failed before":       {[]string{synced, failed}, "", "synced", []string{"in place since"}, "no source"},
		"synced, time is not known":   {[]string{"synced_version = version"}, "", "synced", []string{"is in place"}, ""},
		"removing":                    {[]string{gone}, "available", "removing", []string{"is available"}, ""},
		"removing, claimed":           {[]string{gone, live}, "", "removing", []string{"job 41 works on it"}, ""},
		"removing, dead claim":        {[]string{gone, dead}, "", "removing", []string{"sweep"}, ""},
		"removing, failed":            {[]string{gone, failed}, "", "failed", []string{"no source"}, ""},
		"removing, an older copy":     {[]string{gone, older}, "available", "removing", []string{"in place is version"}, ""},
		"removed":                     {[]string{gone, synced}, "", "removed", []string{"and is gone since"}, "in place"},
		"removed, time is not known":  {[]string{gone, "synced_version = version"}, "", "removed", []string{"is gone"}, "in place"},
		"pending, the queue is quiet": {[]string{"attempts = 2"}, "pending", "pending", []string{"is pending in queue"}, ""},
	}
	b := setup(t)
	b.Exec(t, `INSERT INTO casq.processes (id, host, pid, dead_at) VALUES
		(gen_random_uuid(), 'host1', 11, NULL), (gen_random_uuid(), 'host2', 22, now())`)
	i := int64(0)
	for name, test := range tests {
		i += 10
		token := b.Create(t, i, name)
		b.Update(t, i+1, name)
		token.Version = b.Row(t, name).Version
		for _, set := range test.set {
			b.Exec(t, "UPDATE casq.registry SET "+set+" WHERE resource_id = $1", name)
		}
		if test.job != "" {
			b.riverJob(t, token, test.job)
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := b.Row(t, name); got.Status != test.status {
				t.Errorf("status is %s, want %s", got.Status, test.status)
			}
			why := b.why(t, kind, name)
			t.Log(why)
			for _, want := range append(test.why, "'"+name+"' is "+test.status+": version ") {
				if !strings.Contains(why, want) {
					t.Errorf("does not say %q: %s", want, why)
				}
			}
			if test.not != "" && strings.Contains(strings.ReplaceAll(why, name, ""), test.not) {
				t.Errorf("says %q: %s", test.not, why)
			}
		})
	}
}

func (b *testBundle) riverJob(t *testing.T, token registry.Token, state string) {
	t.Helper()
	b.Exec(t, `INSERT INTO river.river_job (state, kind, queue, max_attempts, finalized_at, args)
		VALUES ($1::text::river.river_job_state, 'casq_sync', $2, 25, CASE WHEN $1::text = 'completed' THEN now() END,
			jsonb_build_object('kind', $2::text, 'resource_id', $3::text, 'version', $4::bigint))`,
		state, token.Kind, token.ResourceID, token.Version)
}

// why fails when the answer is NULL.
func (b *testBundle) why(t *testing.T, kind, key any) string {
	t.Helper()
	var why *string
	if err := b.Pool.QueryRow(t.Context(), "SELECT casq.why($1, $2)", kind, key).Scan(&why); err != nil {
		t.Fatal(err)
	}
	if why == nil {
		t.Fatalf("why(%v, %v) is NULL", kind, key)
	}
	return *why
}

// What concerns a resource and is not in its row.
func TestWhyOfEventsAndReconciles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Create(t, 10, "x")
	b.Create(t, 20, "in place")
	b.Exec(t, "UPDATE casq.registry SET synced_version = version, verified_at = now() WHERE resource_id = 'in place'")
	keys := []string{"x", "in place", "no row"}
	says := func(keys []string, want string, yes bool) {
		t.Helper()
		for _, key := range keys {
			if why := b.why(t, kind, key); strings.Contains(why, want) != yes {
				t.Errorf("%s: says %q (%v): %s", key, want, !yes, why)
			}
		}
	}
	const failed, compared = "could not be applied", "will compare it"
	b.Exec(t, "INSERT INTO casq.reconcile_runs (reason, dry_run) VALUES ('asked', true)")
	b.Exec(t, "INSERT INTO casq.reconcile_runs (kind, reason) VALUES ('other', 'asked')")
	b.Exec(t, "INSERT INTO casq.reconcile_runs (reason, finished_at) VALUES ('asked', now())")
	fail := func(cursor string, id int64, key, reason string) {
		t.Helper()
		b.Exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
			VALUES ($1, 1, $2, 1, $3, $4, 'updated', now(), $5, 3)`, cursor, id, kind, key, reason)
	}
	for _, key := range keys {
		fail(key, 5, key, "bad date")
	}
	b.Exec(t, "UPDATE casq.event_failures SET replayed_at = now()")
	says(keys, failed, false)
	says(keys, compared, false)
	for _, key := range keys {
		fail(key, 6, key, "bad sum")
		fail(key, 7, key, "worse sum")
	}
	says(keys, "event 7 of timeline 1 could not be applied: worse sum (enqueue replay re-fetches the resource); and 1 more", true)
	says([]string{"another"}, failed, false)

	b.Exec(t, "INSERT INTO casq.reconcile_runs (reason, kind, beyond_timeline, beyond_tick) VALUES ('lost', $1, 1, 15)", kind)
	says([]string{"in place", "no row"}, ", asked for at ", true)
	says([]string{"x"}, compared, false)
	b.Exec(t, "INSERT INTO casq.reconcile_runs (reason, started_at) VALUES ('asked', now())")
	says(keys, compared, true)
	says([]string{"x"}, ", begun at ", true)
}

func TestWhyWithoutAWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const nobody = "no worker is running"
	token := b.Create(t, 1, "x")
	b.riverJob(t, token, "available")
	if why := b.why(t, kind, "x"); !strings.Contains(why, nobody) {
		t.Error(why)
	}
	r := b.Registry(t)
	if why := b.why(t, kind, "x"); strings.Contains(why, nobody) {
		t.Error(why)
	}
	claim(t, r, token)
	b.Kill(t, r.Process())
	if why := b.why(t, kind, "x"); !strings.Contains(why, "sweep will hand it on") || !strings.Contains(why, nobody) {
		t.Error(why)
	}
}

func TestWhyOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const noRow, noKind = "has no row: no event of it has been applied; the cursor stands at", "is not a known kind here; known: resource"
	for _, test := range []struct {
		kind, key any
		want      string
	}{
		{kind, "x", "resource 'x' " + noRow + " nothing yet"},
		{kind, nil, "resource NULL " + noRow},
		{kind, "", "resource '' " + noRow},
		{kind, "a'b\n%s", "resource 'a''b\n%s' " + noRow},
		{"other", "x", "'other' " + noKind},
		{"", "x", "'' " + noKind},
		{nil, "x", "NULL " + noKind},
		{nil, nil, "NULL " + noKind},
	} {
		if why := b.why(t, test.kind, test.key); !strings.Contains(why, test.want) {
			t.Errorf("why(%v, %v) is %q, want %q", test.kind, test.key, why, test.want)
		}
	}
	b.Exec(t, "DELETE FROM casq.kinds")
	if why := b.why(t, kind, "x"); !strings.Contains(why, "known: none") {
		t.Error(why)
	}
}

func TestWhyOfAPausedQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.riverJob(t, b.Create(t, 1, "x"), "available")
	b.Exec(t, "INSERT INTO river.river_queue (name, updated_at, paused_at) VALUES ($1, now(), clock_timestamp())", kind)
	if why := b.why(t, kind, "x"); !strings.Contains(why, "in queue resource, which is paused;") {
		t.Error(why)
	}
}

// A verification carries the same token, and copies nothing.
func TestWhyOverlooksVerifications(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.riverJob(t, b.Create(t, 1, "x"), "available")
	b.Exec(t, "UPDATE river.river_job SET kind = 'casq_verify', queue = 'casq_verify_file'")
	if why := b.why(t, kind, "x"); !strings.Contains(why, "it has no job") || strings.Contains(why, "casq_verify") {
		t.Error(why)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	b := resyncBundle(t)
	rows := make(map[string]int)
	result, err := b.Pool.Query(t.Context(), "SELECT status, count, oldest FROM casq.registry_summary WHERE kind = $1", kind)
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	for result.Next() {
		var status string
		var n int
		var oldest any
		if err := result.Scan(&status, &n, &oldest); err != nil {
			t.Fatal(err)
		}
		if waits := status == "pending" || status == "started" || status == "removing"; waits != (oldest != nil) {
			t.Errorf("the oldest that is %s is of %v", status, oldest)
		}
		rows[status] = n
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]int{"failed": 2, "synced": 2, "pending": 1, "removed": 1, "removing": 1, "started": 1} {
		if rows[status] != want {
			t.Errorf("%d are %s, want %d", rows[status], status, want)
		}
	}
}
