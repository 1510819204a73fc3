package cli

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedact(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                                                    "",
		"nonsense":                                            "nonsense",
		"postgres://casq@localhost/casq":                      "postgres://casq@localhost/casq",
		"postgres://casq:secret@localhost/casq":               "postgres://casq:xxxxx@localhost/casq",
		"postgres://casq:sec@ret@localhost/casq":              "postgres://casq:xxxxx@localhost/casq",
		"postgres://casq:sec/ret@localhost/casq":              "postgres://xxxxx@localhost/casq",
		"postgres://casq:sec%ret@localhost/casq":              "postgres://xxxxx@localhost/casq",
		"postgres://localhost/casq?password=secret&x=y":       "postgres://localhost/casq?password=xxxxx&x=y",
		"postgres://localhost/casq?sslpassword=secret":        "postgres://localhost/casq?sslpassword=xxxxx",
		"host=localhost password=secret dbname=casq":          "host=localhost password=xxxxx dbname=casq",
		`host=localhost password = 'sec ret\' too' user=casq`: "host=localhost password = xxxxx user=casq",
		"redis://:secret@localhost:6379/0":                    "redis://:xxxxx@localhost:6379/0",
	} {
		if got := redact(value); got != want {
			t.Errorf("redact(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestEnvReturnsWhatIsSet(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"A": "postgres://casq@localhost/casq", "B": "host=localhost dbname=casq", "C": "postgres://a/b,postgresql://c/d",
		"D": "1m30s", "E": "12", "F": "repository=2h, artifact=10m", "G": ":8080", "H": "json", "I": "warn", "J": "rediss://h:1/2",
	}
	e := fileEnv(values, "")
	kinds := e.KindDurations("F")
	right := e.Database("A") == values["A"] && e.Database("B") == values["B"] && len(e.Databases("C")) == 2 &&
		e.Duration("D", time.Second, time.Hour) == 90*time.Second && e.Int("E", 1, 100) == 12 &&
		maps.Equal(kinds, map[string]time.Duration{"repository": 2 * time.Hour, "artifact": 10 * time.Minute}) &&
		e.Address("G") == ":8080" && e.Choice("H", "text", "json") == "json" && e.Level("I") == slog.LevelWarn &&
		e.Redis("J") == values["J"] && e.Duration("Z", 1, 2) == 0 && e.Level("Z") == slog.LevelInfo && e.Redis("Z") == ""
	if err := e.Err(); err != nil || !right {
		t.Errorf("right %v, %v, kinds %v", right, err, kinds)
	}
}

func TestEnvRefuses(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(e *Env, name string){
		"1s":            func(e *Env, name string) { e.Duration(name, time.Minute, time.Hour) },
		"61m":           func(e *Env, name string) { e.Duration(name, time.Minute, time.Hour) },
		"0":             func(e *Env, name string) { e.Int(name, 1, 2) },
		"3":             func(e *Env, name string) { e.Int(name, 1, 2) },
		"a":             func(e *Env, name string) { e.KindDurations(name) },
		"a=1h,b":        func(e *Env, name string) { e.KindDurations(name) },
		"a=-1h":         func(e *Env, name string) { e.KindDurations(name) },
		"a=0":           func(e *Env, name string) { e.KindBytes(name) },
		"a=1GiB,a=2GiB": func(e *Env, name string) { e.KindBytes(name) },
		"5GiB":          func(e *Env, name string) { e.KindBytes(name) },
		"A=1h":          func(e *Env, name string) { e.KindDurations(name) },
		"10001":         kindInts,
		"a=1,5":         kindInts,
		"5,a=0":         kindInts,
		"5,a=x":         kindInts,
		"5,a=1,a=2":     kindInts,
		"5,=1":          kindInts,
		"5,6":           kindInts,
		"5,A=1":         kindInts,
		"0MiB":          func(e *Env, name string) { e.Bytes(name) },
		"-1":            func(e *Env, name string) { e.Bytes(name) },
		"5 apples":      func(e *Env, name string) { e.Bytes(name) },
		"5Mi":           func(e *Env, name string) { e.Bytes(name) },
		"MiB":           func(e *Env, name string) { e.Bytes(name) },
		"9000000000GiB": func(e *Env, name string) { e.Bytes(name) },
		"localhost":     func(e *Env, name string) { e.Address(name) },
		"localhost:web": func(e *Env, name string) { e.Address(name) },
		":65536":        func(e *Env, name string) { e.Address(name) },
		"postgres://a,": func(e *Env, name string) { e.Databases(name) },
		"https://a/b":   func(e *Env, name string) { e.Database(name) },
		"localhost:1":   func(e *Env, name string) { e.Redis(name) },
		"TEXT":          func(e *Env, name string) { e.Choice(name, "text", "json") },
		"warning":       func(e *Env, name string) { e.Level(name) },
	} {
		e := fileEnv(map[string]string{name: name}, "")
		read(e, name)
		if err := e.Err(); err == nil || !strings.Contains(err.Error(), "it may be ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func kindInts(e *Env, name string) { e.KindInts(name, 1, 10_000) }

func TestNumbersWithUnitsAndByKind(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "7": 7, "500kB": 500_000, "50MiB": 50 << 20, "1 GiB": 1 << 30, "3B": 3} {
		e := fileEnv(map[string]string{"X": text}, "")
		if got := e.Bytes("X"); got != want || e.Err() != nil {
			t.Errorf("%q: %d, %v", text, got, e.Err())
		}
	}
	for text, want := range map[string]struct {
		rest   int
		byKind map[string]int
	}{
		"":                         {0, nil},
		"100":                      {100, map[string]int{}},
		"100,artifact=50, git_r=4": {100, map[string]int{"artifact": 50, "git_r": 4}},
		"artifact=1":               {0, map[string]int{"artifact": 1}},
	} {
		e := fileEnv(map[string]string{"X": text}, "")
		if rest, byKind := e.KindInts("X", 1, 100); rest != want.rest || !maps.Equal(byKind, want.byKind) || e.Err() != nil {
			t.Errorf("%q: %d, %v, %v", text, rest, byKind, e.Err())
		}
	}
}

func TestLoggerWritesJSONWithoutATerminal(t *testing.T) {
	t.Parallel()
	for format, start := range map[string]string{"": "{", LogJSON: "{", LogText: ""} {
		var out bytes.Buffer
		log := LogConfig{Format: format, Level: slog.LevelWarn}.Logger(&out)
		log.Info("not this")
		log.Warn("this", "key", "value")
		got := out.String()
		if !strings.HasPrefix(got, start) || !strings.Contains(got, "this") || strings.Contains(got, "not this") ||
			strings.Contains(got, "\x1b") || (format == LogText) == strings.HasPrefix(got, "{") {
			t.Errorf("format %q: %q", format, got)
		}
	}
}

// Half of a password, where one has a comma, is not told.
func TestDatabasesAreNotTold(t *testing.T) {
	t.Parallel()
	e := fileEnv(map[string]string{"A": "postgres://u:hun,ter2@h/db"}, "")
	e.Databases("A")
	if err := e.Err(); err == nil || strings.Contains(err.Error(), "hun") || strings.Contains(err.Error(), "ter2") || !strings.Contains(err.Error(), "number 1 of 2") {
		t.Error(err)
	}
}

func TestProgressInLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := NewProgress(&out, "work", 10)
	p.Set(1)
	p.next = time.Now().Add(-time.Second)
	p.Set(12)
	p.Set(13)
	p.total, p.next = 0, time.Now().Add(-time.Second)
	p.Set(14)
	p.Close()
	if got := regexp.MustCompile(`\d+/s`).ReplaceAllString(out.String(), "N/s"); got != "work: 12 of 12, N/s, 0s left\nwork: 14, N/s\n" {
		t.Errorf("got %q", got)
	}
	out.Reset()
	p.total = 100
	p.line(20, 5*time.Second)
	if got := out.String(); got != "work: 20 of 100, 4/s, 20s left\n" {
		t.Errorf("got %q", got)
	}
	if Terminal(&out) || Terminal(os.NewFile(^uintptr(0), "none")) {
		t.Error("takes something else for a terminal")
	}
}

func TestVersionIsTheLinkersFirst(t *testing.T) {
	t.Parallel()
	if got := Version("v1.2.3"); got != "v1.2.3" {
		t.Errorf("got %q", got)
	}
	if got := Version(""); got == "" {
		t.Error("no version at all")
	}
}
