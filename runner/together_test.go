package runner_test

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Three runners are picked for together. The commit succeeds, and the connection ends before
// its answer comes: all three are to ask again, and get their builds at once, not when their
// runners would have to have begun.
func TestTheAnswerToACommonPickIsLost(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	config := db.Pool(t).Config()
	s := &slowAnswers{asked: make(chan struct{}, 1), goOn: make(chan struct{}), lost: true}
	config.ConnConfig.DialFunc = s.dial
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	// The first group is stopped, with the only slot, until the rest stands in line.
	inLine, grouped, goOn := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
	b := benchOn(t, pool, runner.Options{Picks: 1, Hold: 5 * time.Second, Hook: func(point string) {
		switch point {
		case "in line":
			select {
			case inLine <- struct{}{}:
			default:
			}
		case "grouped":
			select {
			case grouped <- struct{}{}:
			default:
			}
			<-goOn
		}
	}})
	first := b.c.Ask(t.Context(), b.runner(), "")
	<-grouped
	<-inLine
	var answers []<-chan answer
	for range 3 {
		token := b.runner()
		s.mark = []byte(token[len(token)-12:]) // as its system's id has it, and no other statement
		answers = append(answers, b.c.Ask(t.Context(), token, ""))
		<-inLine
	}
	goOn <- struct{}{}
	<-grouped
	builds := map[int64]bool{b.enqueue(): true, b.enqueue(): true, b.enqueue(): true}
	s.armed.Store(true)
	close(goOn)
	<-s.asked
	observer := db.Pool(t)
	for picked := 0; picked < 3; {
		must(t, observer.QueryRow(t.Context(), "SELECT count(*) FROM casq.builds WHERE status = 'running'").Scan(&picked))
	}
	close(s.goOn)
	for _, a := range answers {
		if got := <-a; got.Status != http.StatusServiceUnavailable {
			t.Errorf("got %s, want that it asks again", got)
		}
	}
	for _, a := range []answer{<-first, b.request(b.runner(), ""), b.request(b.runner(), "")} {
		if !builds[a.Build()] {
			t.Errorf("got %s, want one of the builds %v", a, builds)
		}
		delete(builds, a.Build())
	}
}
