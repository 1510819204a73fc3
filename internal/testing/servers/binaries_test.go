package servers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestInstallationsAreFoundByTheirPrograms(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var dirs []string
	for _, major := range []string{"14", "17", "15", "19"} {
		m.servers(major, "7")
		dirs = append(dirs, m.file("usr/lib/postgresql/"+major+"/bin"))
	}
	// The newest has no server programs, as with a package for clients only.
	must(t, os.Remove(filepath.Join(dirs[3], "initdb")))
	found := installations(append(dirs, m.bin, "/nowhere"), "postgres", "initdb")
	if len(found) != 3 || newest(found).Major != 17 || newest(found).Dir != dirs[1] {
		t.Errorf("found %v, the newest is %v", found, newest(found))
	}
	if redis := installations([]string{m.bin}, "redis-server"); len(redis) != 1 || redis[0].Major != 7 {
		t.Errorf("found %v", redis)
	}
	if newest(nil).Major != 0 {
		t.Error("found something in nothing")
	}
}

func TestMissingServerSaysWhatToDo(t *testing.T) {
	t.Parallel()
	err := missing("PostgreSQL server", MinPostgres, []Binaries{{Dir: "/old", Major: 13}}, "apt-get install postgresql")
	for _, want := range []string{"15 or newer", "version 13 in /old", "make deps", "apt-get install postgresql"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
	if !errors.Is(err, ErrNotInstalled) {
		t.Errorf("%v is not ErrNotInstalled", err)
	}
}

func TestDataNeedTheirOwnVersion(t *testing.T) {
	t.Parallel()
	b, err := FindPostgres()
	must(t, err)
	p := startPostgres(t, PostgresOptions{})
	if got, err := matching(p.place.data(), Binaries{Major: 99}); err != nil || got.Major != b.Major {
		t.Errorf("got %v, %v, want %v", got, err, b)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("9\n"), 0o600))
	if _, err := matching(dir, b); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "Postgres 9") {
		t.Errorf("data of Postgres 9: %v", err)
	}
}

// Several processes may find the cache empty at once.
func TestTemplateIsWholeWhoeverPublishesIt(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "template")
	must(t, os.MkdirAll(filepath.Join(from, "base"), 0o700))
	must(t, os.WriteFile(filepath.Join(from, "base", "1"), []byte("one"), 0o600))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if err := publish(from, to); err != nil {
				t.Error(err)
			}
			if content, err := os.ReadFile(filepath.Join(to, "base", "1")); err != nil || string(content) != "one" {
				t.Errorf("the template holds %q, %v", content, err)
			}
		})
	}
	wait.Wait()
	if entries, err := os.ReadDir(filepath.Dir(to)); err != nil || len(entries) != 1 {
		t.Errorf("beside the template: %v, %v", entries, err)
	}
}
