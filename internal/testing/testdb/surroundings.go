package testdb

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/servers"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The variables by which the same tests are run in a stranger's world. They
// change the servers that tests start and the databases on them; what casq's own
// connections set for themselves stays so. `make matrix` names the worlds.
const (
	// programsVariable is the folder of another Postgres' programs.
	programsVariable = "CASQ_TEST_POSTGRES"
	// clockVariable is how far the servers' clock is ahead: 90s, or -90s.
	clockVariable = "CASQ_TEST_CLOCK"
	// settingsVariable are settings of sessions: TimeZone=Asia/Tokyo;DateStyle=SQL.
	// With | between several such lists, each connection of a test gets the next
	// one, so that sessions that read and that write differ. A database has those
	// of the first list.
	settingsVariable = "CASQ_TEST_SETTINGS"
	// ownerVariable is "ordinary" where databases belong to an ordinary role, as
	// which the tests connect: there are no event triggers then.
	ownerVariable = "CASQ_TEST_OWNER"
	// messagesVariable is lc_messages of the tests' databases. With C.UTF-8 what
	// Postgres says is in German, where its programs have that (Debian's do).
	messagesVariable = "CASQ_TEST_MESSAGES"
)

type surroundings struct {
	programs string
	clock    time.Duration
	settings []map[string]string
	ordinary bool
	messages string
}

var around = sync.OnceValues(func() (s surroundings, err error) {
	s.programs = os.Getenv(programsVariable)
	if clock := os.Getenv(clockVariable); clock != "" {
		if s.clock, err = time.ParseDuration(clock); err != nil {
			return s, fmt.Errorf("read %s: %w: want a duration like 90s or -90s", clockVariable, err)
		}
	}
	if s.settings, err = parseSettings(os.Getenv(settingsVariable)); err != nil {
		return s, fmt.Errorf("read %s: %w", settingsVariable, err)
	}
	s.messages = os.Getenv(messagesVariable)
	switch owner := os.Getenv(ownerVariable); owner {
	case "", "superuser":
	case "ordinary":
		s.ordinary = true
	default:
		return s, fmt.Errorf("read %s: %q: want superuser or ordinary", ownerVariable, owner)
	}
	return s, nil
})

func parseSettings(text string) (lists []map[string]string, err error) {
	if text == "" {
		return nil, nil
	}
	for list := range strings.SplitSeq(text, "|") {
		settings := map[string]string{}
		for setting := range strings.SplitSeq(list, ";") {
			name, value, ok := strings.Cut(setting, "=")
			if !ok {
				return nil, fmt.Errorf("%q has no value: want name=value, with ; between settings and | between lists", setting)
			}
			settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
		lists = append(lists, settings)
	}
	return lists, nil
}

var connections atomic.Int64

// next returns the settings of the next connection.
func (s surroundings) next() map[string]string {
	if len(s.settings) == 0 {
		return nil
	}
	return s.settings[int(connections.Add(1))%len(s.settings)]
}

// apply adds what the surroundings say to a server's options.
func (s surroundings) apply(o servers.PostgresOptions) servers.PostgresOptions {
	if o.Programs == "" {
		o.Programs = s.programs
	}
	if o.Clock == 0 {
		o.Clock = s.clock
	}
	return o
}

// set gives a database its settings.
func (s surroundings) set(ctx context.Context, pool *pgxpool.Pool, database string) error {
	all := map[string]string{}
	if len(s.settings) > 0 {
		maps.Copy(all, s.settings[0])
	}
	if s.messages != "" {
		all["lc_messages"] = s.messages
	}
	for name, value := range all {
		sql := fmt.Sprintf("ALTER DATABASE %s SET %s TO %s", quote(database), quote(name), literal(value))
		if _, err := pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("set %s of the test's database: %w", name, err)
		}
	}
	return nil
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// NeedsSuperuser skips a test that is about what only a superuser can do in the
// database, such as event triggers, where the tests' databases belong to an
// ordinary role.
func NeedsSuperuser(t testing.TB) {
	t.Helper()
	if s, err := around(); err == nil && s.ordinary {
		t.Skip("needs a superuser, and " + ownerVariable + " is ordinary")
	}
}
