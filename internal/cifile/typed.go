package cifile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"casq/internal/span"
)

// What follows reads values of one type. A value of another is a problem, of which what
// names the key.

// text reads a text; numbers are texts, too.
func (r *reader) text(v *value, what string) string {
	if v.kind != scalar || v.tag == "!!bool" {
		r.wrong(v.at, "%s is %s: it has to be a text", what, v.describe())
		return ""
	}
	return v.text
}

func (v *value) describe() string {
	if v.kind == scalar {
		return strconv.Quote(v.text)
	}
	return v.kind.String()
}

// texts reads a text, or a list of texts.
func (r *reader) texts(v *value, what string) (texts []string) {
	if v.kind == scalar {
		return []string{r.text(v, what)}
	}
	if v.kind != list {
		r.wrong(v.at, "%s is %s: it has to be a list of texts", what, v.kind)
		return nil
	}
	for _, item := range v.items {
		if item.kind == list { // a reference in a list
			texts = append(texts, r.texts(item, what)...)
			continue
		}
		texts = append(texts, r.text(item, what))
	}
	return texts
}

// script reads the lines of a script.
func (r *reader) script(v *value, what string) (lines []string) {
	switch {
	case v.kind == scalar && v.tag == "!!str":
		return []string{v.text}
	case v.kind == list:
		for _, item := range v.items {
			lines = append(lines, r.script(item, what)...)
		}
		return lines
	case v.kind == dict:
		r.wrong(v.at, `%s has a map: a line with ": " in it has to be quoted`, what)
	default:
		r.wrong(v.at, "%s has %s: lines are texts", what, v.describe())
	}
	return nil
}

func (r *reader) boolean(v *value, what string) bool {
	if v.kind != scalar || v.tag != "!!bool" {
		r.wrong(v.at, "%s is %s: it has to be true or false", what, v.describe())
		return false
	}
	return strings.EqualFold(v.text, "true")
}

func (r *reader) number(v *value, what string, least, most int) int {
	n, err := strconv.Atoi(v.text)
	if v.kind != scalar || v.tag != "!!int" || err != nil || n < least || n > most {
		r.wrong(v.at, "%s is %s: it has to be a number from %d to %d", what, v.describe(), least, most)
		return least
	}
	return n
}

func (r *reader) choice(v *value, what string, choices ...string) string {
	text := v.text
	if v.kind != scalar || !slices.Contains(choices, text) {
		r.wrong(v.at, "%s is %s: it may be %s", what, v.describe(), strings.Join(choices, ", "))
		return choices[0]
	}
	return text
}

// longestTimeout is what the queue takes.
const longestTimeout = 30 * 24 * time.Hour

func (r *reader) duration(v *value, what string) time.Duration {
	d, err := span.Parse(r.text(v, what))
	if err != nil || d < time.Second || d > longestTimeout {
		r.wrong(v.at, "%s is %s: it has to be a time such as 1h 30m, from 1 second to 30 days", what, v.describe())
		return time.Hour
	}
	return d
}

// each calls f for the keys of a map, and refuses a value that is none.
func (r *reader) each(v *value, what string, f func(key string, at Position, v *value)) {
	if v.kind != dict {
		r.wrong(v.at, "%s is %s: it has to be a map", what, v.describe())
		return
	}
	for _, key := range v.keys {
		f(key, v.of[key].at, v.of[key].value)
	}
}
