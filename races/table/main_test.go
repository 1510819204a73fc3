package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"casq/internal/testing/long"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const raceHeader = `package races

import "testing"

func sub(t *testing.T, name string, ok bool) {
	t.Run(name, func(t *testing.T) {
		if !ok {
			t.Error("the log of " + name)
		}
	})
}
`

// setup writes a module whose races folder holds the given tests, and returns
// that folder.
func setup(t *testing.T, tests string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "races")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(root, "go.mod"):       "module example\n\ngo 1.26\n",
		filepath.Join(dir, "races_test.go"): raceHeader + tests,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func playIn(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), args, &stdout, &stderr)
	t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	return stdout.String(), err
}

func TestWon(t *testing.T) {
	t.Parallel()
	dir := setup(t, `
// TestR01UpdateUpdate plays two updates. And more.
func TestR01UpdateUpdate(t *testing.T) {
	sub(t, "twin/no version", true)
	sub(t, "twin/refreshkey/wins", true)
	sub(t, "ours", true)
}

// A race of another group.
func TestR20DeleteBeforeScan(t *testing.T) { sub(t, "ours/a", true); sub(t, "ours/b", true) }

func TestHelper(t *testing.T) { t.Error("is no race") }
`)
	for race, want := range map[string][]string{
		"":       {"R01", "R20", "plays two updates ", "no version: goes wrong, refreshkey: wins", "races: 2 won, 0 lost\n"},
		"s1":     {"R20", "A race of another group ", "races: 1 won, 0 lost\n"},
		"R01,S1": {"R01", "R20", "races: 2 won, 0 lost\n"},
	} {
		t.Run(race, func(t *testing.T) {
			t.Parallel()
			out, err := playIn(t, "-dir", dir, "-race", race)
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			for _, part := range want {
				if !strings.Contains(out, part) {
					t.Errorf("%q is missing", part)
				}
			}
			if race == "s1" && strings.Contains(out, "R01") {
				t.Error("R01 was played too")
			}
			if !strings.HasSuffix(out, want[len(want)-1]) {
				t.Errorf("the last line is not %q", want[len(want)-1])
			}
		})
	}
}

// Races in a folder of their own are played with the others, and what fails beside them
// is not hidden by the last folder that passes.
func TestFoldersBelow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := setup(t, "func TestR01(t *testing.T) { sub(t, \"ours\", true) }\n")
	for name, tests := range map[string]string{
		"a": "func TestR60(t *testing.T) { sub(t, \"ours\", true) }\nfunc TestMain(m *testing.M) { m.Run(); panic(\"a leak\") }\n",
		"b": "func TestR61(t *testing.T) { sub(t, \"ours\", true) }\n",
	} {
		below := filepath.Join(dir, name)
		if err := os.Mkdir(below, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(below, "x_test.go"), []byte(raceHeader+tests), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := playIn(t, "-dir", dir, "-race", "R01,R61"); err != nil || !strings.HasSuffix(out, "\nraces: 2 won, 0 lost\n") {
		t.Errorf("those that are won: %v", err)
	}
	if out, err := playIn(t, "-dir", dir); err == nil || errors.Is(err, errLost) || !strings.Contains(out, "a leak") {
		t.Errorf("beside those that are won: %v", err)
	}
}

func TestLost(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := setup(t, `
func TestR01TwinRight(t *testing.T) { sub(t, "twin/fine", false); sub(t, "ours", true) }
func TestR02OursWrong(t *testing.T) { sub(t, "twin/fine", true); sub(t, "ours", false) }
func TestR03NoOurs(t *testing.T)    { sub(t, "twin/fine", true) }
func TestR04Skipped(t *testing.T)   { t.Skip("not today") }
func TestR05SkipOurs(t *testing.T)  { t.Run("ours", func(t *testing.T) { t.Skip() }) }
func TestR06CaseOne(t *testing.T)   { sub(t, "ours", true) }
func TestR06CaseTwo(t *testing.T)   { sub(t, "ours", false) }
func TestR07Outside(t *testing.T)   { sub(t, "ours", true); t.Error("beside") }
func TestR08Deep(t *testing.T)      { sub(t, "ours", true); t.Run("twin/a/case", func(t *testing.T) { t.Skip() }) }
func TestR09Won(t *testing.T)       { sub(t, "ours", true) }
func TestR10Panics(t *testing.T)    { panic("boom") }
func TestR11Never(t *testing.T)     { sub(t, "ours", true) }
func TestR12Cases(t *testing.T)     { sub(t, "ours/a", true); sub(t, "ours/b", false) }
`)
	out, err := playIn(t, "-dir", dir)
	if !errors.Is(err, errLost) {
		t.Fatalf("got error %v, want %v", err, errLost)
	}
	for _, part := range []string{
		"fine: does NOT go wrong", "lost (see below)", "lost (no subtest ours)",
		"lost (skipped)", "lost (did not end)", "the log of ours", "boom",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing", part)
		}
	}
	if want := "\nraces: 1 won, 11 lost\n"; !strings.HasSuffix(out, want) {
		t.Errorf("the last line is not %q", want)
	}
}

func TestNothingIsWonBySilence(t *testing.T) {
	t.Parallel()
	t.Run("build", func(t *testing.T) {
		t.Parallel()
		out, err := playIn(t, "-dir", setup(t, "func TestR01(t *testing.T) { undefined() }\n"))
		if !errors.Is(err, errLost) || !strings.Contains(out, "undefined: undefined") {
			t.Errorf("got error %v, want the compiler's message", err)
		}
	})
	t.Run("exit", func(t *testing.T) {
		t.Parallel()
		out, err := playIn(t, "-dir", setup(t, `
func TestR01(t *testing.T) { sub(t, "ours", true) }
func TestMain(m *testing.M) { m.Run(); panic("leak") }
`))
		if err == nil || errors.Is(err, errLost) || strings.Contains(out, "races: ") {
			t.Errorf("got error %v, want one about a failure beside the races", err)
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		if _, err := playIn(t, "-dir", setup(t, "")); err == nil {
			t.Error("got no error without a race")
		}
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		_, err := playIn(t, "-dir", setup(t, "func TestR01(t *testing.T) {}\n"), "-race", "R02")
		if err == nil || !strings.Contains(err.Error(), `"R02"`) {
			t.Errorf("got error %v, want one that names R02", err)
		}
	})
}

func TestPatternIsExact(t *testing.T) {
	t.Parallel()
	got := pattern([]race{{test: "TestR01A"}, {test: "TestR01AB"}})
	if want := "^(TestR01A|TestR01AB)$"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGroupsCoverTheirIDs(t *testing.T) {
	t.Parallel()
	ids := []race{{id: "R01"}, {id: "R19"}, {id: "R20"}, {id: "R39"}, {id: "R40"}, {id: "R55"}, {id: "R60"}, {id: "R74"}, {id: "R80"}, {id: "R99"},
		{id: "R110"}, {id: "R115"}, {id: "R120"}, {id: "R124"}, {id: "R130"}}
	for i := range ids {
		ids[i].test = "Test" + ids[i].id
	}
	for group, want := range map[string][]string{
		"S0": {"R01", "R19", "R110", "R130"}, "S1": {"R20", "R39"}, "S2": {"R40", "R55", "R120", "R124"},
		"S3": {"R60", "R74", "R115"}, "S4": {"R80", "R99"},
	} {
		chosen, err := choose(ids, group)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, 0, 4)
		for _, r := range chosen {
			got = append(got, r.id)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", group, got, want)
		}
	}
}

func TestShortenKeepsOneLine(t *testing.T) {
	t.Parallel()
	if got := shorten(strings.Repeat("ä", titleWidth+1)); len([]rune(got)) != titleWidth {
		t.Errorf("got %d characters, want %d", len([]rune(got)), titleWidth)
	}
	if got := shorten("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}
