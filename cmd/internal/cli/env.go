package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"casq/internal/redisurl"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Env reads the environment and collects everything that is wrong with it, so
// that it is told at once. An empty variable is one that is not set, and gives
// the zero value.
type Env struct {
	get    func(name string) string // the value, also from a file
	source *environment
	errs   []error
}

// NewEnv returns the process's environment, with what is in files of it.
func NewEnv() *Env { return newEnv(os.Getenv, os.Getenv("CREDENTIALS_DIRECTORY")) }

func newEnv(get func(string) string, credentials string) *Env {
	source := &environment{get: get, credentials: credentials, known: make(map[string]string)}
	return &Env{get: source.value, source: source}
}

// Err returns all that was wrong so far.
func (e *Env) Err() error { return errors.Join(append(slices.Clone(e.source.errs), e.errs...)...) }

// Warnings returns what is unwise about the files that values came from.
func (e *Env) Warnings() []string { return e.source.warnings }

func (e *Env) fail(format string, args ...any) {
	e.errs = append(e.errs, fmt.Errorf(format, args...))
}

// bad says what a variable is and what it may be.
func (e *Env) bad(name, value, may string) { e.fail("%s is %q: it may be %s", name, value, may) }

// Require says what a variable is for, unless it is set.
func (e *Env) Require(name, meaning string) {
	if e.get(name) == "" {
		e.fail("%s is required: %s", name, meaning)
	}
}

// Needs says that one variable is of no use without another.
func (e *Env) Needs(name, other, meaning string) { e.needs(e.get, name, other, meaning) }

// PathNeeds is [Env.Needs] of two that [Env.Path] reads.
func (e *Env) PathNeeds(name, other, meaning string) { e.needs(e.source.path, name, other, meaning) }

func (e *Env) needs(get func(string) string, name, other, meaning string) {
	if get(name) != "" && get(other) == "" {
		e.fail("%s needs %s: %s", name, other, meaning)
	}
}

// String returns any value.
func (e *Env) String(name string) string { return e.get(name) }

// Path returns the path of a file. What has its name among the credentials is the file.
func (e *Env) Path(name string) string { return e.source.path(name) }

// Parsed returns what parse makes of a variable's value, or tells its error. The value is not
// told: it may be a secret.
func Parsed[T any](e *Env, name string, parse func(string) (T, error)) T {
	parsed, err := parse(e.get(name))
	if err != nil {
		e.fail("%s: %w", name, err)
	}
	return parsed
}

// Pass returns those of the variables that are set as NAME=value, for a program
// that is given them and no others.
func (e *Env) Pass(names ...string) []string {
	var set []string
	for _, name := range names {
		if value := e.source.get(name); value != "" {
			set = append(set, name+"="+value)
		}
	}
	return set
}

// Database returns a URL, or a list of keywords and values, that pgx accepts.
func (e *Env) Database(name string) string {
	value := e.get(name)
	if value != "" && !isDatabase(value) {
		e.bad(name, redact(value), "postgres://user:password@host:5432/database")
	}
	return value
}

// Databases checks a list of such URLs, separated by commas.
func (e *Env) Databases(name string) []string {
	value := e.get(name)
	if value == "" {
		return nil
	}
	all := strings.Split(value, ",")
	for i, one := range all {
		if !isDatabase(one) {
			// Not what it is: half of a password, where that has a comma.
			e.fail("%s: number %d of %d is no database; it may be postgres://user:password@host:5432/database, or several of them with commas between them (a comma within one is %%2C)",
				name, i+1, len(all))
		}
	}
	return all
}

func isDatabase(value string) bool {
	scheme, _, isURL := strings.Cut(value, "://")
	if isURL && !strings.Contains(scheme, "=") && scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	_, err := pgxpool.ParseConfig(value)
	return err == nil && value != ""
}

// Redis returns a URL that [redisurl.Open] accepts.
func (e *Env) Redis(name string) string {
	value := e.get(name)
	if value == "" {
		return ""
	}
	client, err := redisurl.Open(value)
	if err != nil {
		e.bad(name, redact(value), redisurl.Forms)
		return value
	}
	_ = client.Close() // it was never used
	return value
}

// Duration returns a duration between least and most.
func (e *Env) Duration(name string, least, most time.Duration) time.Duration {
	value := e.get(name)
	if value == "" {
		return 0
	}
	d, err := parseDuration(value)
	if err != nil || d < least || d > most {
		e.bad(name, value, fmt.Sprintf("a duration from %s to %s, such as 30s, 1m30s or 7d", durationText(least), durationText(most)))
	}
	return d
}

// Int returns a number between least and most.
func (e *Env) Int(name string, least, most int) int {
	value := e.get(name)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.bad(name, value, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n
}

var kindName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// KindDurations returns durations by kind from a list like a=1h,b=10m.
func (e *Env) KindDurations(name string) map[string]time.Duration {
	value := e.get(name)
	if value == "" {
		return nil
	}
	byKind := make(map[string]time.Duration)
	for pair := range strings.SplitSeq(value, ",") {
		kind, text, found := strings.Cut(pair, "=")
		kind = strings.TrimSpace(kind)
		d, err := parseDuration(strings.TrimSpace(text))
		_, twice := byKind[kind]
		if !found || err != nil || d <= 0 || twice || !kindName.MatchString(kind) {
			e.bad(name, value, "kind=duration, each kind once, with commas between them, such as repository=2h,artifact=10m")
			return nil
		}
		byKind[kind] = d
	}
	return byKind
}

// KindInts returns a number, and others by kind, from a list like 100,a=50,b=4;
// the first may be missing. All are between least and most.
func (e *Env) KindInts(name string, least, most int) (rest int, byKind map[string]int) {
	value := e.get(name)
	if value == "" {
		return 0, nil
	}
	byKind = make(map[string]int)
	for i, pair := range strings.Split(value, ",") {
		kind, text, named := strings.Cut(pair, "=")
		if !named {
			kind, text = "", pair
		}
		kind = strings.TrimSpace(kind)
		n, err := strconv.Atoi(strings.TrimSpace(text))
		_, twice := byKind[kind]
		if err != nil || n < least || n > most || twice || named && !kindName.MatchString(kind) || !named && i > 0 {
			e.bad(name, value, fmt.Sprintf("a number from %d to %d, and after it such numbers by kind, such as 100,artifact=50,repository=4", least, most))
			return 0, nil
		}
		byKind[kind] = n
	}
	rest = byKind[""]
	delete(byKind, "")
	return rest, byKind
}

var byteUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9}

// Bytes returns a number of bytes like 50MiB, at least 1.
func (e *Env) Bytes(name string) int64 {
	value := e.get(name)
	if value == "" {
		return 0
	}
	n, ok := parseBytes(value)
	if !ok {
		e.bad(name, value, "a number of bytes, such as 500kB, 50MiB or 1GiB")
	}
	return n
}

func parseBytes(value string) (n int64, ok bool) {
	digits := strings.TrimRight(value, "BKMGikb ")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, known := byteUnits[strings.TrimSpace(value[len(digits):])]
	if err != nil || !known || n < 1 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// KindBytes returns numbers of bytes by kind from a list like a=5GiB,b=100MiB.
func (e *Env) KindBytes(name string) map[string]int64 {
	value := e.get(name)
	if value == "" {
		return nil
	}
	byKind := make(map[string]int64)
	for pair := range strings.SplitSeq(value, ",") {
		kind, text, found := strings.Cut(pair, "=")
		kind = strings.TrimSpace(kind)
		n, ok := parseBytes(strings.TrimSpace(text))
		_, twice := byKind[kind]
		if !found || !ok || twice || !kindName.MatchString(kind) {
			e.bad(name, value, "kind=bytes, each kind once, with commas between them, such as artifact=5GiB,repository=50GiB")
			return nil
		}
		byKind[kind] = n
	}
	return byKind
}

// Address returns a host and port to listen on.
func (e *Env) Address(name string) string {
	value := e.get(name)
	if value == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(value)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		e.bad(name, value, "host:port or :port, such as 127.0.0.1:8080; port 0 is any free one")
	}
	return value
}

// Choice returns one of the known values.
func (e *Env) Choice(name string, known ...string) string {
	value := e.get(name)
	if value != "" && !slices.Contains(known, value) {
		e.bad(name, value, strings.Join(known, " or "))
	}
	return value
}

// Level returns a log level; info unless it is set.
func (e *Env) Level(name string) slog.Level {
	level, known := map[string]slog.Level{
		"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[e.get(name)]
	if !known {
		e.bad(name, e.get(name), "debug, info, warn or error")
	}
	return level
}

var (
	passwordParameter = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]*)`)
	credentials       = regexp.MustCompile(`://.*@`)
)

// redact returns a URL, also one that cannot be read, without its password.
func redact(value string) string {
	value = passwordParameter.ReplaceAllString(value, "${1}xxxxx")
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		return u.Redacted()
	}
	return credentials.ReplaceAllString(value, "://xxxxx@")
}
