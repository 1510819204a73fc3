package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Result is a figure beside its reference.
type Result struct {
	Bench     string
	Ours      float64
	Reference float64 // 0 for none
	Unit      string
	// Least and Most are the spread: the ratios of single rounds.
	Least, Most float64
	Rounds      int // 0 for what is not measured in rounds
	Note        string
}

// Ratio is ours by the reference; 0 without one.
func (r Result) Ratio() float64 { return over(r.Ours, r.Reference) }

// MarshalJSON implements [json.Marshaler].
func (r Result) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Bench     string  `json:"bench"`
		Ours      float64 `json:"ours"`
		Reference float64 `json:"reference"`
		Unit      string  `json:"unit"`
		Ratio     float64 `json:"ratio"`
		Least     float64 `json:"ratio_min,omitempty"`
		Most      float64 `json:"ratio_max,omitempty"`
		Rounds    int     `json:"rounds,omitempty"`
		Note      string  `json:"note"`
	}{r.Bench, r.Ours, r.Reference, r.Unit, r.Ratio(), r.Least, r.Most, r.Rounds, r.Note})
}

var columns = []string{"benchmark", "ours", "reference", "unit", "ratio", "spread"}

// row is what people read of a result.
func (r Result) row() []string {
	row := []string{r.Bench, Short(r.Ours), "", r.Unit, "", ""}
	if r.Reference != 0 {
		row[2], row[4] = Short(r.Reference), Short(r.Ratio())
	}
	if r.Rounds > 0 && r.Reference != 0 {
		row[5] = Short(r.Least) + " to " + Short(r.Most)
	}
	return row
}

// Table writes results in columns.
func Table(w io.Writer, results []Result) error {
	columnsOut := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columnsOut, strings.Join(columns, "\t"))
	for _, r := range results {
		fmt.Fprintln(columnsOut, strings.Join(r.row(), "\t"))
	}
	return columnsOut.Flush()
}

// Markdown writes results as the rows of a table.
func Markdown(w io.Writer, results []Result) error {
	lines := []string{"| " + strings.Join(columns, " | ") + " |", strings.Repeat("|---", len(columns)) + "|"}
	for _, r := range results {
		row := r.row()
		row[0] = "`" + row[0] + "`"
		lines = append(lines, "| "+strings.Join(row, " | ")+" |")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// Short is a number with three digits that count, and thousands in groups.
func Short(value float64) string {
	digits := 0
	if value != 0 {
		digits = 2 - int(math.Floor(math.Log10(math.Abs(value))))
	}
	text := strconv.FormatFloat(value, 'f', min(max(digits, 0), 6), 64)
	whole := len(text)
	if point := strings.IndexByte(text, '.'); point >= 0 {
		whole = point
	}
	for i := whole - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
