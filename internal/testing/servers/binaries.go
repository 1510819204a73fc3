package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The oldest major versions that casq is tested with.
const (
	MinPostgres = 15
	MinRedis    = 7
)

// ErrNotInstalled says that no suitable server was found on this machine. The
// message around it names the packages and the command that installs them.
var ErrNotInstalled = errors.New("not installed")

// Binaries are the programs of one installation.
type Binaries struct {
	// Dir is the folder that holds the programs.
	Dir string
	// Major is the version's first number: 15 for Postgres 15.4.
	Major int
	// Version is the version as the server program prints it.
	Version string
	// server is the server program's path.
	server string
}

// path returns the path of a program of the installation.
func (b Binaries) path(program string) string { return filepath.Join(b.Dir, program) }

var versionPattern = regexp.MustCompile(`(?:\(PostgreSQL\) |v=)(\d+)`)

// FindPostgres returns the newest Postgres installation with server programs
// (initdb, postgres) that is at least [MinPostgres]. It looks in
// PATH, below /usr/lib/postgresql, /usr/pgsql-* and where pg_config points. It
// returns [ErrNotInstalled] when there is none.
func FindPostgres() (Binaries, error) {
	found := installations(postgresDirs(), "postgres", "initdb")
	if best := newest(found); best.Major >= MinPostgres {
		return best, nil
	}
	return Binaries{}, missing("PostgreSQL server", MinPostgres, found,
		"Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17")
}

// postgresOf returns the installation whose programs are in dir, or what
// [FindPostgres] finds.
func postgresOf(dir string) (Binaries, error) {
	if dir == "" {
		return FindPostgres()
	}
	found := installations([]string{dir}, "postgres", "initdb")
	if len(found) == 0 || found[0].Major < MinPostgres {
		return Binaries{}, missing("PostgreSQL server in "+dir, MinPostgres, found, "its folder holds initdb and postgres")
	}
	return found[0], nil
}

// matching returns the installation for a data folder, which only its own major
// version can read: preferred, or another one on this machine.
func matching(data string, preferred Binaries) (Binaries, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return Binaries{}, fmt.Errorf("read the version of the data in %s: %w", data, err)
	}
	version := strings.TrimSpace(string(content))
	found := append([]Binaries{preferred}, installations(postgresDirs(), "postgres", "initdb")...)
	for _, b := range found {
		if strconv.Itoa(b.Major) == version {
			return b, nil
		}
	}
	return Binaries{}, fmt.Errorf("find Postgres %s, which wrote the data in %s: %w: install it, or remove the folder",
		version, data, ErrNotInstalled)
}

// FindRedis returns the newest redis-server in PATH and the usual folders that
// is at least [MinRedis]. It returns [ErrNotInstalled] when there is none.
func FindRedis() (Binaries, error) {
	found := installations(redisDirs(), "redis-server")
	if best := newest(found); best.Major >= MinRedis {
		return best, nil
	}
	return Binaries{}, missing("Redis server", MinRedis, found,
		"Debian and Ubuntu: apt-get install redis-server; Fedora: dnf install redis; macOS: brew install redis")
}

func missing(what string, major int, found []Binaries, hint string) error {
	seen := make([]string, len(found))
	for i, b := range found {
		seen[i] = fmt.Sprintf("version %d in %s", b.Major, b.Dir)
	}
	return fmt.Errorf("find a %s of version %d or newer: %w (found: %s): run `make deps`, or install it yourself (%s)",
		what, major, ErrNotInstalled, cmp.Or(strings.Join(seen, ", "), "none"), hint)
}

func postgresDirs() []string {
	dirs := pathDirs("postgres")
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return dirs
}

func redisDirs() []string {
	return append(pathDirs("redis-server"), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
}

// pathDirs returns the folder behind links of a program in PATH: initdb has to
// be found beside it.
func pathDirs(program string) []string {
	found, err := exec.LookPath(program)
	if err != nil {
		return nil
	}
	if target, err := filepath.EvalSymlinks(found); err == nil {
		found = target
	}
	return []string{filepath.Dir(found)}
}

// installations returns those among dirs that have all programs, the first of
// which is the server.
func installations(dirs []string, programs ...string) (found []Binaries) {
	for _, dir := range dirs {
		if b, err := inspect(dir, programs); err == nil {
			found = append(found, b)
		}
	}
	return found
}

// newest returns the first with the highest version, or the zero Binaries.
func newest(found []Binaries) (best Binaries) {
	for _, b := range found {
		if b.Major > best.Major {
			best = b
		}
	}
	return best
}

func inspect(dir string, programs []string) (Binaries, error) {
	for _, program := range programs {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return Binaries{}, fmt.Errorf("find %s in %s: %w", program, dir, os.ErrNotExist)
		}
	}
	server := filepath.Join(dir, programs[0])
	out, err := exec.CommandContext(context.Background(), server, "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask %s for its version: %w", server, err)
	}
	version := strings.TrimSpace(string(out))
	match := versionPattern.FindStringSubmatch(version)
	if match == nil {
		return Binaries{}, fmt.Errorf("read the version of %s: %q", server, version)
	}
	major, _ := strconv.Atoi(match[1])
	return Binaries{Dir: dir, Major: major, Version: version, server: server}, nil
}
