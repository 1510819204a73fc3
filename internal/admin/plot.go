package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// series is a number of which the page shows the last hour.
type series struct {
	title  string
	number func(*sample) float64
	text   func(float64) string
}

// plotted are the numbers that are shown so.
var plotted = [...]series{
	{"Still to be done", func(s *sample) float64 {
		var n int64
		for _, k := range s.Kinds {
			n += k.Open
		}
		return float64(n)
	}, whole},
	{"Failed", func(s *sample) float64 {
		var n int64
		for _, k := range s.Kinds {
			n += k.Failed
		}
		return float64(n)
	}, whole},
	{"Lag", func(s *sample) (longest float64) {
		for _, l := range s.Lags {
			if l.Lag != nil {
				longest = max(longest, *l.Lag)
			}
		}
		return longest
	}, func(n float64) string { return span(time.Duration(n * float64(time.Second))) }},
	{"Jobs waiting", func(s *sample) float64 { return float64(s.total(func(q queue) int64 { return q.Waiting })) }, whole},
}

func whole(n float64) string { return strconv.FormatFloat(n, 'f', 0, 64) }

// The size of a plot, in its own units.
const (
	plotWidth  = 600
	plotHeight = 80
)

// plot is a series as it is drawn.
type plot struct {
	Title, Now, Most string
	Points           string // of a polyline
}

// Label is the plot in words.
func (p plot) Label() string {
	return fmt.Sprintf("%s: %s now, at most %s in the last hour", p.Title, p.Now, p.Most)
}

// plots draws what is kept. Now is at the right.
func plots(points []point, now time.Time) []plot {
	if len(points) == 0 {
		return nil
	}
	var drawn []plot
	for i, of := range plotted {
		most := 0.0
		for _, p := range points {
			most = max(most, p.numbers[i])
		}
		var line strings.Builder
		for _, p := range points {
			x := plotWidth * (1 - now.Sub(p.at).Seconds()/keptFor.Seconds())
			y := plotHeight - 2 - p.numbers[i]/max(most, 1)*(plotHeight-4)
			fmt.Fprintf(&line, "%.1f,%.1f ", max(x, 0), y)
		}
		drawn = append(drawn, plot{of.title, of.text(points[len(points)-1].numbers[i]), of.text(most), strings.TrimSpace(line.String())})
	}
	return drawn
}
