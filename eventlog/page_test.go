package eventlog_test

import (
	"fmt"
	"testing"

	"casq/eventlog"
)

// readWithin reads on from p in pages within so many bytes, and returns what came
// of it, the pages, and the bytes of the largest one and of the event that ended it.
func readWithin(t *testing.T, b *logBundle, p eventlog.Position, size int, bytes int64) (resources []string, pages int, most, last int64) {
	t.Helper()
	reader := eventlog.NewReader(b.pool, 0)
	for {
		batch, err := reader.NextWithin(t.Context(), p, size, bytes)
		if err != nil {
			t.Fatal(err)
		}
		if batch.Next == p {
			return resources, pages, most, last
		}
		p, pages = batch.Next, pages+1
		var sum, end int64
		for _, e := range batch.Events {
			resources = append(resources, e.ResourceID)
			end = int64(len(e.ResourceID) + len(e.Payload))
			sum += end
		}
		if sum-end > most-last {
			most, last = sum, end
		}
	}
}

// Wherever a page is ended by its bytes, the step is read whole, once, in order.
func TestPagesOfAnyBytesMakeUpTheStep(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	p, inOrder := b.steps(t)
	for _, bytes := range []int64{0, 1, 10, 30, 60, 90, 1 << 20} {
		for _, size := range []int{2, 5, 100} {
			got, pages, _, _ := readWithin(t, b, p, size, bytes)
			wantResources(t, got, inOrder...)
			if bytes == 0 && pages < len(inOrder) {
				t.Errorf("%d pages, want one for each event", pages)
			}
		}
	}
}

// Whatever the payloads are like, compressed or not, in the row or apart, a page
// has no more bytes than it may, and one event.
func TestPagesAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	const words = `(SELECT jsonb_agg(md5(i::text || w::text)) FROM generate_series(1, %d) AS w)`
	for name, test := range map[string]struct {
		payload       string
		n             int
		bytes         int64
		fewest, pages int // pages that it takes
	}{
		"small":                 {`1`, 400, 1 << 20, 1, 1},
		"in the row":            {fmt.Sprintf(words, 30), 400, 100_000, 5, 8},
		"apart":                 {fmt.Sprintf(words, 400), 100, 200_000, 8, 25},
		"apart, compressed":     {`repeat(i::text, 90000)`, 40, 1 << 20, 3, 60},
		"a little compressed":   {`repeat(md5(i::text), 3) || ` + fmt.Sprintf(words, 100) + `::text`, 200, 400_000, 2, 20},
		"each more than a page": {fmt.Sprintf(words, 400), 9, 1000, 9, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupLog(t)
			b.tick(t)
			p := b.newest(t)
			b.exec(t, fmt.Sprintf(`INSERT INTO casq.events (kind, resource_id, op, payload)
				SELECT 'resource', 'r' || i, 'updated', jsonb_build_object('v', %s) FROM generate_series(1, %d) AS i`, test.payload, test.n))
			b.tick(t)
			resources, pages, most, last := readWithin(t, b, p, 5000, test.bytes)
			if len(resources) != test.n {
				t.Errorf("%d events, want %d", len(resources), test.n)
			}
			// The bytes are those of the stored form, where that is not compressed.
			if most-last > test.bytes*11/10 {
				t.Errorf("a page has %d bytes without its last event, want at most %d", most-last, test.bytes)
			}
			if pages < test.fewest || pages > test.pages {
				t.Errorf("%d pages, want %d to %d", pages, test.fewest, test.pages)
			}
		})
	}
}
