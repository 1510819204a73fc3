package admin

import (
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"casq/internal/visible"

	"github.com/docker/go-units"
)

// view is what the live part of the page shows.
type view struct {
	*sample // nil: nothing was read yet
	Now     time.Time
	Failed  string // why the database does not answer; "": it does
	Since   time.Time
	Plots   []plot
}

// view is what there is to show. The caller has mu.
func (s *sampler) view(now time.Time) view {
	return view{s.last, now, s.failed, s.since, plots(s.points, now)}
}

// MostLetters is how many dead letters are grouped.
func (view) MostLetters() int { return mostLetters }

// Read tells whether there is anything to show.
func (v view) Read() bool { return v.sample != nil }

// Say is what is told to who does not see the page: it changes only when something does.
func (v view) Say() string {
	switch {
	case v.Failed != "":
		return "The database does not answer."
	case !v.Read() || len(v.Health) == 0:
		return "How things stand is not known."
	case v.Health[0].Severity == "ok":
		return "Everything is well."
	default:
		return visible.Text(v.Health[0].Severity+": "+v.Health[0].What, "")
	}
}

// Ago is how long ago something was, as of the frame.
func (v view) Ago(t time.Time) string { return span(v.Now.Sub(t)) }

// AgoP is likewise, of what may never have been.
func (v view) AgoP(t *time.Time) string {
	if t == nil {
		return ""
	}
	return v.Ago(*t)
}

// overview is the first page.
func (s *Server) overview(w http.ResponseWriter, r *http.Request) error {
	frame, _, _ := s.sampler.current()
	return s.render(w, http.StatusOK, "overview", struct {
		page
		Live template.HTML
	}{s.about(r, "casq"), template.HTML(frame)}) //nolint:gosec // it is a template's
}

// page is what each page has.
type page struct {
	Title  string
	Caller string // who looks; "": nobody that is known
	SignIn bool   // one can sign in
}

func (s *Server) about(r *http.Request, title string) page {
	return page{title, caller(r), len(s.cfg.Door.Tokens) > 0}
}

// functions are those of the templates.
var functions = template.FuncMap{
	"text":   func(text string) string { return visible.Text(text, "") },
	"lines":  func(text string) string { return visible.Text(text, "\n") },
	"number": number,
	"bytes":  func(n int64) string { return units.BytesSize(float64(n)) },
	"capped": capped,
	"share":  share,
	"span":   span,
	"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"seconds": func(n *float64) string {
		if n == nil {
			return "not known"
		}
		return span(time.Duration(*n * float64(time.Second)))
	},
	"join": func(all []string) string { return visible.Text(strings.Join(all, ", "), "") },
	"changed": func(byTable map[string]int64) string {
		var parts []string
		for _, table := range slices.Sorted(maps.Keys(byTable)) {
			if _, counted := byTable[strings.TrimSuffix(table, " statements")]; counted && strings.HasSuffix(table, " statements") {
				continue
			}
			parts = append(parts, fmt.Sprintf("%s %d", table, byTable[table]))
		}
		return strings.Join(parts, ", ")
	},
}

// number is a number with its thousands apart.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// capped is a number that was counted up to a limit.
func capped(n int64) string {
	if n >= mostCounted {
		return number(n) + " or more"
	}
	return number(n)
}

// share is a part of a whole in percent, and only 100 when it is all of it.
func share(part, of int64) int {
	if of <= 0 || part >= of {
		return 100
	}
	return int(min(max(part, 0)*100/of, 99))
}

// span is a time for people: its largest two units.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}
