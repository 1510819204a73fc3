// Package debtest builds the Debian package, and installs it in a folder of its own.
package debtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is for a build on a busy machine.
const limit = 3 * time.Minute

// run returns what a program prints, and fails unless it succeeds.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// installation is a folder that is the root of a system with nothing in it.
type installation struct {
	root string
	env  []string
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	i := &installation{root: t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"} {
		if err := os.MkdirAll(filepath.Join(i.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"status", "available"} {
		if err := os.WriteFile(i.path("var/lib/dpkg/"+file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("systemd-sysusers"); err != nil {
		t.Log("systemd-sysusers is not here: whether the user is made is not tested")
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "systemd-sysusers"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		i.env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	return i
}

func (i *installation) dpkg(t *testing.T, args ...string) {
	t.Helper()
	run(t, i.env, "dpkg", append([]string{
		"--root=" + i.root, "--log=" + filepath.Join(i.root, "log"), "--force-depends", "--force-not-root", "--force-script-chrootless",
	}, args...)...)
}

func (i *installation) path(name string) string { return filepath.Join(i.root, name) }

func (i *installation) wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(i.path(name))
	if err != nil || info.Mode() != want {
		t.Errorf("%s: %v, %v; want %v", name, info, err, want)
	}
}

func (i *installation) wantGone(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(i.path(name)); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", name, err)
	}
}

// The package is built from the programs, installed, found to work, removed, and purged.
func TestPackage(t *testing.T) {
	t.Parallel()
	long.Test(t)
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not here: packages are built on Debian")
	}
	bin := t.TempDir()
	deb := filepath.Join(bin, "casq.deb")
	args := append([]string{"build"}, raceFlag...)
	run(t, nil, "go", append(args, "-ldflags", "-X main.version=v1.2.3-4-gabc", "-o", bin+"/", "../../cmd/worker", "../../cmd/enqueue")...)
	run(t, []string{"DEB_COMPRESSION=none"}, "../../scripts/deb.sh", bin, "v1.2.3-4-gabc", deb)
	if version := run(t, nil, "dpkg-deb", "--field", deb, "Version"); version != "1.2.3+4-gabc\n" {
		t.Errorf("the package's version is %q", version)
	}

	i := newInstallation(t)
	i.dpkg(t, "--install", deb)
	i.wantMode(t, "etc/casq/worker.env", 0o640)
	i.wantMode(t, "etc/casq/credentials", os.ModeDir|0o700)
	for _, name := range []string{"worker", "enqueue"} {
		if out := run(t, nil, i.path("usr/bin/casq-"+name), "--version"); !strings.Contains(out, "v1.2.3-4-gabc") {
			t.Errorf("casq-%s is %q", name, out)
		}
	}
	if i.env == nil {
		users, err := os.ReadFile(i.path("etc/passwd"))
		if err != nil || !strings.Contains(string(users), "casq:") {
			t.Errorf("users are %q, %v", users, err)
		}
	}
	verify(t, i)

	if err := os.WriteFile(i.path("etc/casq/credentials/DATABASE_URL"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.dpkg(t, "--remove", "casq")
	i.wantGone(t, "usr/lib/casq")
	i.wantMode(t, "etc/casq/worker.env", 0o640)
	i.dpkg(t, "--purge", "casq")
	i.wantGone(t, "etc/casq/worker.env")
	i.wantMode(t, "etc/casq/credentials/DATABASE_URL", 0o600) // an operator's
}

// verify has systemd read the units, where it is.
func verify(t *testing.T, i *installation) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not here: the units are not verified")
		return
	}
	for _, unit := range []string{"casq-worker.service", "casq-migrate.service"} {
		out := run(t, nil, "systemd-analyze", "verify", "--root="+i.root, "--man=no", "--recursive-errors=no", i.path("usr/lib/systemd/system/"+unit))
		if strings.Contains(out, "casq") {
			t.Errorf("%s: %s", unit, out)
		}
	}
}
