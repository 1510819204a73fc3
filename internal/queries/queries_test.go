package queries_test

import (
	"fmt"
	"strings"
	"testing"

	"casq/internal/queries"

	"go.uber.org/goleak"
)

const two = `-- name: Take
-- Takes it.
SELECT 1

-- name: Release
SELECT 2;
`

func TestParse(t *testing.T) {
	t.Parallel()
	got := queries.Parse[struct{ Release, Take string }]("a/b", two)
	if got.Take != "-- casq: a/b.Take\n-- Takes it.\nSELECT 1" || got.Release != "-- casq: a/b.Release\nSELECT 2;" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	type both struct{ Take, Release string }
	for want, parse := range map[string]func(){
		"nobody uses Release":          func() { queries.Parse[struct{ Take string }]("a", two) },
		"there is no query Keep":       func() { queries.Parse[struct{ Take, Release, Keep string }]("a", two) },
		"query Take is there twice":    func() { queries.Parse[both]("a", two+two) },
		"on the first line":            func() { queries.Parse[both]("a", "SELECT 0\n"+two) },
		"and a name on the first line": func() { queries.Parse[both]("a", "") },
		`query "Take" needs a name`:    func() { queries.Parse[both]("a", "-- name: Take\n"+two) },
		`query "" needs a name`:        func() { queries.Parse[both]("a", "-- name: \nSELECT 1") },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got %q, want %q in it", got, want)
				}
			}()
			parse()
		}()
	}
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
