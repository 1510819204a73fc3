package cifile

import (
	"os"
	"strings"
)

// environment are the variables that conditions are about.
type environment map[string]Variable

func environmentOf(lists ...[]Variable) environment {
	e := make(environment)
	for _, variables := range lists {
		for _, v := range variables {
			e[v.Key] = v
		}
	}
	return e
}

// deepestVariable is how often a reference in a value is followed, and longestVariable how
// long a value may become.
const (
	deepestVariable = 10
	longestVariable = 64 << 10
)

// get returns the value of a variable, with others in it in their places, or nil.
func (e environment) get(key string) *string {
	v, there := e[key]
	if !there {
		return nil
	}
	text := e.expand(v, 0)
	return &text
}

func (e environment) text(key string) string {
	if text := e.get(key); text != nil {
		return *text
	}
	return ""
}

func (e environment) expand(v Variable, depth int) string {
	if v.Raw || depth > deepestVariable || !strings.Contains(v.Value, "$") {
		return v.Value
	}
	room := longestVariable
	const dollar = "\x00" // $$ is a dollar
	text := os.Expand(strings.ReplaceAll(v.Value, "$$", dollar), func(key string) string {
		inner, there := e[key]
		if !there || key == v.Key || room <= 0 {
			return ""
		}
		text := e.expand(inner, depth+1)
		text = text[:min(len(text), max(room, 0))]
		room -= len(text)
		return text
	})
	return strings.ReplaceAll(text, dollar, "$")
}
