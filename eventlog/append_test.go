package eventlog_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
)

func TestAppendReturnsTheIDAndStoresAll(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	scope := "project 1"
	want := eventlog.Event{
		Kind: "resource", ResourceID: "a/b\n\u00e9", Op: eventlog.Deleted, ScopeID: &scope,
		SizeDelta: -1 << 40, ItemDelta: -1, Payload: json.RawMessage(`{"sha256": "abc", "n": 1}`),
	}
	tx := b.begin(t)
	id, err := eventlog.Append(t.Context(), tx, want)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	b.tick(t)
	got := next(t, b.pool, b.start(t), 10).Events
	if len(got) != 1 || got[0].ID != id || got[0].OccurredAt.IsZero() {
		t.Fatalf("read %+v, want event %d", got, id)
	}
	e := got[0]
	if e.Kind != want.Kind || e.ResourceID != want.ResourceID || e.Op != want.Op || e.ScopeID == nil || *e.ScopeID != scope ||
		e.SizeDelta != want.SizeDelta || e.ItemDelta != want.ItemDelta || !sameJSON(t, e.Payload, want.Payload) {
		t.Errorf("read %+v, want %+v", e, want)
	}
}

func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var texts [2]string
	for i, raw := range []json.RawMessage{a, b} {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	return texts[0] == texts[1]
}

func TestAppendRefusesBadEvents(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	good := eventlog.Event{Kind: "resource", ResourceID: "a", Op: eventlog.Created}
	tests := []struct {
		name   string
		change func(e *eventlog.Event)
		state  string // empty: none
		told   string
	}{
		{"nothing wrong", func(e *eventlog.Event) {}, "", ""},
		{"the longest id", func(e *eventlog.Event) { e.ResourceID = strings.Repeat("x", 1024) }, "", ""},
		{"unknown kind", func(e *eventlog.Event) { e.Kind = "thong" }, "", "Known kinds: resource"},
		{"no kind", func(e *eventlog.Event) { e.Kind = "" }, "", "Known kinds: resource"},
		{"id too long", func(e *eventlog.Event) { e.ResourceID = strings.Repeat("x", 1025) }, "23514", "events_resource_id_length"},
		{"id too long in bytes", func(e *eventlog.Event) { e.ResourceID = strings.Repeat("\u00e9", 513) }, "23514", "events_resource_id_length"},
		{"empty id", func(e *eventlog.Event) { e.ResourceID = "" }, "23514", "events_resource_id_length"},
		{"NUL in the id", func(e *eventlog.Event) { e.ResourceID = "a\x00b" }, "22021", ""},
		{"id not UTF-8", func(e *eventlog.Event) { e.ResourceID = "a\xff" }, "22021", ""},
		{"unknown op", func(e *eventlog.Event) { e.Op = "moved" }, "23514", "events_op_is_known"},
		{"payload is a list", func(e *eventlog.Event) { e.Payload = json.RawMessage(`[1]`) }, "23514", "events_payload_is_an_object"},
		{"payload is null", func(e *eventlog.Event) { e.Payload = json.RawMessage(`null`) }, "23514", "events_payload_is_an_object"},
		{"payload is not JSON", func(e *eventlog.Event) { e.Payload = json.RawMessage(`{`) }, "22P02", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := good
			test.change(&e)
			tx := b.begin(t)
			_, err := eventlog.Append(t.Context(), tx, e)
			switch {
			case test.state == "" && test.told == "":
				if err != nil {
					t.Error(err)
				}
				return
			case err == nil:
				t.Fatal("appended")
			case test.state == "" && !errors.Is(err, eventlog.ErrUnknownKind):
				t.Errorf("got %v, want ErrUnknownKind", err)
			case test.state != "" && sqlState(err) != test.state:
				t.Errorf("got %v, state %s, want %s", err, sqlState(err), test.state)
			}
			if !strings.Contains(err.Error(), test.told) {
				t.Errorf("%v\ndoes not tell %q", err, test.told)
			}
		})
	}
}

func TestEventsAreOnlyInserted(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.write(t, "a")
	_, err := b.pool.Exec(t.Context(), "UPDATE casq.events SET payload = '{}'")
	wantRefused(t, err, "only inserted", "casq.append_event")
}

// Options are kept where a definition is repeated, and are changed by each site for itself.
func TestOptionsOfAKind(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.exec(t, "SELECT casq.define_kind('wiki', 'git', missing => 'absent', quiet => '2s', probe => '1 min')")
	b.exec(t, "SELECT casq.define_kind('wiki', 'git'), casq.define_kind('wiki', 'git', quiet => '2000 ms')")
	kinds, err := eventlog.Kinds(t.Context(), b.pool)
	want := eventlog.Kind{Name: "wiki", Transfer: eventlog.TransferGit, Queue: "wiki", Prefix: "wiki", Missing: eventlog.MissingAbsent, Quiet: 2 * time.Second, Probe: time.Minute}
	if err != nil || kinds["wiki"] != want {
		t.Errorf("%+v, %v", kinds["wiki"], err)
	}
	for options, told := range map[string]string{
		"'wiki', 'git', probe => '2 min'":    "its probe is '00:01:00', not '00:02:00'",
		"'bad', 'git', missing => 'gone'":    "missing is failed or absent",
		"'bad', 'git', quiet => '-1 s'":      "at most a minute",
		"'bad', 'git', quiet => '11 min'":    "at most a minute",
		"'bad', 'git', probe => '1 ms'":      "a second to 30 days",
		"'bad', 'none', probe => '1 min'":    "has no bytes",
		"'bad', 'none', missing => 'absent'": "has no bytes",
	} {
		_, err := b.pool.Exec(t.Context(), "SELECT casq.define_kind("+options+")")
		wantRefused(t, err, told)
	}
}

func TestDefineKind(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	define := "SELECT casq.define_kind($1, $2, prefix => $3)"
	for _, kind := range [][]any{
		{"resource", "none", ""}, {"picture", "file", "img/big"}, {"icon", "file", "/img/small/"},
		{"picture", "file", "img/big/"}, {"repo", "git", ""},
	} {
		b.exec(t, define, kind...)
	}
	for _, bad := range []struct {
		kind [3]any
		told string
	}{
		{[3]any{"picture", "file", "other"}, "defined otherwise: its prefix is 'img/big', not 'other'"},
		{[3]any{"picture", "git", "img/big"}, "defined otherwise: its transfer is 'file', not 'git'"},
		{[3]any{"twin", "file", "img//big"}, "relative path"},
		{[3]any{"twin", "file", "img/./big"}, "relative path"},
		{[3]any{"twin", "file", "img/x/../big"}, "relative path"},
		{[3]any{"twin", "file", ".."}, "relative path"},
		{[3]any{"twin", "file", "a\nb"}, "relative path"},
		{[3]any{"twin", "file", ".casq/x"}, "kept for staging"},
	} {
		_, err := b.pool.Exec(t.Context(), define, bad.kind[:]...)
		wantRefused(t, err, bad.told)
	}
	for _, bad := range [][]any{{"Upper", "none", ""}, {"", "none", ""}, {"video", "ftp", ""}, {nil, "none", ""}} {
		if _, err := b.pool.Exec(t.Context(), define, bad...); err == nil {
			t.Errorf("kind %v was defined", bad)
		}
	}
	kinds, err := eventlog.Kinds(t.Context(), b.pool)
	if err != nil || len(kinds) != 4 || kinds["icon"].Prefix != "img/small" || kinds["resource"].Transfer != eventlog.TransferNone {
		t.Errorf("kinds %+v, %v", kinds, err)
	}
}

// What no reader can read is not written, by hand either.
func TestEventsHaveATime(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	for _, when := range []string{"infinity", "-infinity"} {
		_, err := b.pool.Exec(t.Context(), "INSERT INTO casq.events (kind, resource_id, op, occurred_at) VALUES ('resource', 'a', 'created', $1::text::timestamptz)", when)
		if err == nil || !strings.Contains(err.Error(), "events_occurred_at_is_finite") {
			t.Errorf("%s: %v", when, err)
		}
	}
}
