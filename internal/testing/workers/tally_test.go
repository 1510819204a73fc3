package workers

import (
	"strings"
	"testing"

	"casq/internal/testing/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

func TestTally(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"once":     {"", ""},
		"missing":  {"DELETE FROM workers.recorded WHERE n = 1", "1 events were committed and not applied"},
		"twice":    {"INSERT INTO workers.recorded (event_id, tick, worker, epoch) SELECT max(event_id), 1, 'two', 2 FROM workers.recorded", "1 events were applied more than once"},
		"unknown":  {"INSERT INTO workers.recorded (event_id, tick, worker, epoch) VALUES (-1, 1, 'two', 2)", "1 events were applied and not committed"},
		"backward": {"UPDATE workers.recorded SET epoch = 2 WHERE n = 1", "1 events were applied by a process that had been replaced"},
		"nothing":  {"DELETE FROM workers.recorded; DELETE FROM casq.events", "no event was committed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testdb.Pool(t, testdb.New(t).URL)
			if err := Prepare(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				"SELECT casq.append_event('workers_resource', 'resource ' || n, 'updated') FROM generate_series(1, 3) AS n",
				"INSERT INTO workers.recorded (event_id, tick, worker, epoch) SELECT id, 1, 'one', 1 FROM casq.events ORDER BY id", c.sql,
			} {
				if _, err := db.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			tally, err := count(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			switch err := tally.Err(); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
