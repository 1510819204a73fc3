package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

var (
	// block is one of the runbook's that is to be run.
	block = regexp.MustCompile("(?s)\n```(sh|sql)\n(.*?)```\n")
	// alert is a name in deploy/alerts.yml, with the section that it points to.
	alert    = regexp.MustCompile(`(?s)- alert: (\w+)\n.*?runbook: docs/runbook\.md#(\w+)\n`)
	headline = regexp.MustCompile(`(?m)^## (\w+)$`)
)

// TestRunbook: each alert has its section, and each command in it does what it says on a
// site where nothing is wrong.
func TestRunbook(t *testing.T) {
	long.Test(t)
	t.Parallel()
	page, rules := read(t, "../../docs/runbook.md"), read(t, "../../deploy/alerts.yml")
	sections := make(map[string]bool)
	for _, found := range headline.FindAllStringSubmatch(page, -1) {
		sections[strings.ToLower(found[1])] = false
	}
	alerts := alert.FindAllStringSubmatch(rules, -1)
	if n := strings.Count(rules, "- alert: "); n != len(alerts) {
		t.Errorf("%d of %d alerts point to the runbook", len(alerts), n)
	}
	for _, found := range alerts {
		if _, there := sections[found[2]]; !there {
			t.Errorf("%s has no section", found[1])
		}
		sections[found[2]] = true
	}
	for name, used := range sections {
		if !used {
			t.Errorf("section %s is of no alert", name)
		}
	}
	operate(t, block.FindAllStringSubmatch(page, -1))
}

// operate runs blocks of commands on a site.
func operate(t *testing.T, blocks [][]string) {
	t.Helper()
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		"CREATE TABLE public.documents (path text PRIMARY KEY, size bigint NOT NULL, project bigint)",
		"SELECT casq.track('public.documents', kind => 'document', transfer => 'file', key_column => 'path', size_column => 'size', scope_column => 'project')",
		"INSERT INTO public.documents VALUES ('hello.txt', 6, 1)",
		"SELECT casq.tick()",
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	program, err := exec.LookPath("enqueue")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(program), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	ran := make(map[string]int)
	for _, found := range blocks {
		language, text := found[1], found[2]
		ran[language]++
		if language == "sql" {
			if _, err := pool.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Errorf("%s%v", text, err)
			}
			continue
		}
		command := exec.CommandContext(t.Context(), "bash", "-ec", text)
		command.Dir = dir
		command.Env = append(os.Environ(), "DATABASE_URL="+db.URL, "REDIS_URL=")
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s%s%v", text, out, err)
		}
	}
	if ran["sh"] < 8 || ran["sql"] < 12 {
		t.Errorf("the commands were not found: %v", ran)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
