package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a pretended system for scripts/deps.sh: a root folder, and a PATH
// with nothing but what the test put there.
type machine struct {
	t         *testing.T
	root, bin string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), bin: t.TempDir()}
	for _, tool := range []string{"cat", "chmod", "cp", "dirname", "head", "mkdir", "mv", "readlink", "rm", "sed"} {
		path, err := exec.LookPath(tool)
		must(t, err)
		must(t, os.Symlink(path, filepath.Join(m.bin, tool)))
	}
	must(t, os.MkdirAll(m.file("usr/sbin"), 0o755))
	m.program("bin/git", "")
	m.program("bin/make", "")
	m.program("bin/gcc", "")
	m.program("bin/go", "echo go version go1.26.0 linux/amd64")
	m.program("bin/id", "echo 0")
	return m
}

// file returns where a path of the pretended system is.
func (m *machine) file(path string) string { return filepath.Join(m.root, path) }

// program makes a shell script below the root, or below bin for bin/.
func (m *machine) program(path, script string) {
	m.t.Helper()
	file := m.file(path)
	if name, ok := strings.CutPrefix(path, "bin/"); ok {
		file = filepath.Join(m.bin, name)
	}
	must(m.t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(m.t, os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

func (m *machine) servers(postgres, redis string) {
	dir := "usr/lib/postgresql/" + postgres + "/bin/"
	m.program(dir+"postgres", "echo 'postgres (PostgreSQL) "+postgres+".3 (Debian "+postgres+".3-1)'")
	m.program(dir+"initdb", "")
	m.program("bin/redis-server", "echo Redis server v="+redis+".2.4 sha=0 bits=64")
}

// aptGet installs both servers by what it is told, and writes down its
// arguments and what it found. Without lists it knows no package.
const aptGet = `
say() { echo "$*" >>"$DEPS_ROOT/apt.log"; }
case "$*" in
*update*) : >"$DEPS_ROOT/lists"; say update; exit 0 ;;
esac
[ -e "$DEPS_ROOT/lists" ] || { say nothing known; exit 100; }
[ -x "$DEPS_ROOT/usr/sbin/policy-rc.d" ] && say no service starts
for package in "$@"; do
	case $package in
	postgresql)
		case $(cat "$DEPS_ROOT/etc/postgresql-common/createcluster.conf") in
		*'create_main_cluster = false') say no cluster ;;
		esac
		mkdir -p "$DEPS_ROOT/usr/lib"
		cp -r "$DEPS_ROOT/store/postgresql" "$DEPS_ROOT/usr/lib/"
		say "$package" ;;
	redis-server) cp "$DEPS_ROOT/store/redis-server" "$BIN/"; say "$package" ;;
	-*|install) ;;
	*) say "$package" ;;
	esac
done
`

// store fills what aptGet installs from.
func (m *machine) store() {
	m.servers("15", "7")
	must(m.t, os.Mkdir(m.file("store"), 0o755))
	must(m.t, os.Rename(m.file("usr/lib/postgresql"), m.file("store/postgresql")))
	must(m.t, os.Rename(filepath.Join(m.bin, "redis-server"), m.file("store/redis-server")))
	m.program("bin/apt-get", aptGet)
}

// deps runs the script and returns its exit code and output.
func (m *machine) deps(args ...string) (code int, out string) {
	m.t.Helper()
	script, err := filepath.Abs("../../../scripts/deps.sh")
	must(m.t, err)
	cmd := exec.CommandContext(limit(m.t), script, args...)
	cmd.Env = []string{"PATH=" + m.bin, "DEPS_ROOT=" + m.root, "BIN=" + m.bin}
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(output)
}

// read returns a file below the root, or "none".
func (m *machine) read(path string) string {
	content, err := os.ReadFile(m.file(path))
	if err != nil {
		return "none"
	}
	return string(content)
}

func (m *machine) want(path, content string) {
	m.t.Helper()
	if got := m.read(path); got != content {
		m.t.Errorf("%s holds:\n%s\nwant:\n%s", path, got, content)
	}
}

const installed = `nothing known
update
no service starts
postgresql-common
no service starts
no cluster
postgresql
redis-server
`

func TestDepsSaysOneLineWhenAllIsThere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.program("bin/apt-get", aptGet)
	m.servers("17", "7")
	code, out := m.deps()
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "postgres 17 and redis 7") {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("apt.log", "none")
}

func TestDepsInstallsWithoutServicesAndClusters(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.store()
	if code, out := m.deps(); code != 0 || !strings.HasSuffix(out, "postgres 15 and redis 7 are there\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("apt.log", installed)
	m.want("usr/sbin/policy-rc.d", "none")
	m.want("etc/postgresql-common/createcluster.conf", "none")
}

func TestDepsLeavesTheSystemsFilesAsTheyWere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.store()
	m.program("usr/sbin/policy-rc.d", "exit 0")
	m.program("etc/postgresql-common/createcluster.conf", "create_main_cluster = true")
	if code, out := m.deps(); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("apt.log", installed)
	m.want("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")
	m.want("etc/postgresql-common/createcluster.conf", "#!/bin/sh\ncreate_main_cluster = true\n")
	m.want("etc/postgresql-common/createcluster.conf.deps", "none")
}

func TestDepsRestoresWhenAptFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.store()
	must(t, os.RemoveAll(m.file("store/postgresql")))
	m.program("bin/apt-get", strings.Replace(aptGet, "mkdir -p", "exit 100; mkdir -p", 1))
	m.program("etc/postgresql-common/createcluster.conf", "# mine")
	code, out := m.deps()
	if code != 1 || !strings.Contains(out, "missing: postgres 15 or newer") {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("usr/sbin/policy-rc.d", "none")
	m.want("etc/postgresql-common/createcluster.conf", "#!/bin/sh\n# mine\n")
}

func TestDepsOnlySaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, arrange := range map[string]func(*machine) []string{
		"only checks":     func(*machine) []string { return []string{"--check"} },
		"is not root":     func(m *machine) []string { m.program("bin/id", "echo 1000"); return nil },
		"has no apt-get":  func(m *machine) []string { must(t, os.Remove(filepath.Join(m.bin, "apt-get"))); return nil },
		"has old servers": func(m *machine) []string { m.servers("14", "6"); return []string{"--check"} },
	} {
		m := newMachine(t)
		m.store()
		code, out := m.deps(arrange(m)...)
		if code != 1 || !strings.Contains(out, "apt-get install --no-install-recommends postgresql redis-server\n") {
			t.Errorf("%s: exit %d: %s", name, code, out)
		}
		m.want("apt.log", "none")
	}
}

func TestDepsNamesEachMissingTool(t *testing.T) {
	t.Parallel()
	for tool, want := range map[string]string{
		"go": "https://go.dev/dl/", "git": "missing: git\n", "make": "missing: make\n", "gcc": "recommends gcc libc6-dev\n",
	} {
		m := newMachine(t)
		m.servers("15", "7")
		must(t, os.Remove(filepath.Join(m.bin, tool)))
		if code, out := m.deps("--check"); code != 1 || !strings.Contains(out, want) {
			t.Errorf("without %s: exit %d: %s", tool, code, out)
		}
	}
	if code, out := newMachine(t).deps("--chekc"); code != 2 || !strings.Contains(out, "usage") {
		t.Error(fmt.Sprint("wrong argument: exit ", code, ": ", out))
	}
}

// What only tests need is installed for them, and for nobody else.
func TestDepsOfTests(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.servers("17", "7")
	m.program("bin/apt-get", `echo "$*" >>"$DEPS_ROOT/apt.log"; [ -x "$DEPS_ROOT/usr/sbin/policy-rc.d" ] && : >"$BIN/chromium" && chmod 755 "$BIN/chromium"`)
	if code, out := m.deps(); code != 0 || strings.Contains(out, "chromium") {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("apt.log", "none")
	if code, out := m.deps("--test"); code != 0 || !strings.Contains(out, "and chromium") {
		t.Errorf("exit %d: %s", code, out)
	}
	m.want("apt.log", "install -y -q --no-install-recommends chromium\n")
	m.want("usr/sbin/policy-rc.d", "none")
}
