package cifile

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// mostValues bounds the values of a file and all that it includes, where an alias or a
	// reference counts as all that it stands for.
	mostValues = 100_000
	// deepest is how far values may be nested.
	deepest = 100

	reference = "!reference"
)

// reader reads a file and what it includes.
type reader struct {
	files    files
	left     int // of mostValues
	problems []*LineError
}

func (r *reader) wrong(at Position, format string, args ...any) {
	r.problems = append(r.problems, problem(at, format, args...))
}

// count takes n values from what is left.
func (r *reader) count(at Position, n int) *LineError {
	r.left -= n
	if r.left < 0 {
		return problem(at, "with its aliases, references and includes the file has more than %d values", mostValues)
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// parse reads YAML. The tree is ours, and what it may cost is counted, since the library
// has no line for an error of a later step, and expands aliases without an end.
func (r *reader) parse(file string, text []byte) (*value, *LineError) {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var document, second yaml.Node
	start := Position{file, 1}
	if err := decoder.Decode(&document); err != nil {
		return nil, yamlProblem(start, err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, problem(Position{file, second.Line}, "a second document, as after a header with spec, is not supported")
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, problem(start, "the file is empty")
	}
	return r.build(file, document.Content[0], 0)
}

func yamlProblem(at Position, err error) *LineError {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if text == "EOF" {
		return problem(at, "the file is empty")
	}
	if line := yamlLine.FindStringSubmatch(err.Error()); line != nil {
		at.Line, _ = strconv.Atoi(line[1])
		text = err.Error()[len(line[0]):]
	}
	return problem(at, "this is no YAML: %s", text)
}

func (r *reader) build(file string, n *yaml.Node, depth int) (*value, *LineError) {
	at := Position{file, n.Line}
	if depth > deepest {
		return nil, problem(at, "values are nested more than %d deep, or an alias stands in what it stands for", deepest)
	}
	if p := r.count(at, 1); p != nil {
		return nil, p
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.build(file, n.Alias, depth+1)
	case yaml.ScalarNode:
		return scalarOf(at, n)
	case yaml.SequenceNode:
		v := &value{at: at, kind: list, tag: n.ShortTag()}
		if v.tag != "!!seq" && v.tag != reference {
			return nil, problem(at, "the tag %s is not supported", v.tag)
		}
		for _, item := range n.Content {
			built, p := r.build(file, item, depth+1)
			if p != nil {
				return nil, p
			}
			v.items = append(v.items, built)
		}
		return v, nil
	case yaml.MappingNode:
		return r.buildDict(file, n, depth)
	default:
		return nil, problem(at, "this is no YAML")
	}
}

func scalarOf(at Position, n *yaml.Node) (*value, *LineError) {
	v := &value{at: at, kind: scalar, tag: n.ShortTag(), text: n.Value}
	if strings.ContainsRune(n.Value, 0) {
		return nil, problem(at, "a text has the character 0, which the queue cannot keep")
	}
	switch v.tag {
	case "!!null":
		v.kind = null
	case "!!str", "!!int", "!!float", "!!bool":
	case "!!timestamp", "!!merge", "!!binary":
		v.tag = "!!str"
	default:
		return nil, problem(at, "the tag %s is not supported", v.tag)
	}
	return v, nil
}

func (r *reader) buildDict(file string, n *yaml.Node, depth int) (*value, *LineError) {
	v := newDict(Position{file, n.Line})
	if tag := n.ShortTag(); tag != "!!map" {
		return nil, problem(v.at, "the tag %s is not supported", tag)
	}
	var merged []*value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := Position{file, key.Line}
		if key.Kind != yaml.ScalarNode || strings.ContainsRune(key.Value, 0) {
			return nil, problem(at, "a key has to be a name")
		}
		built, p := r.build(file, content, depth+1)
		if p != nil {
			return nil, p
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, built)
			continue
		}
		if _, twice := v.of[key.Value]; twice {
			return nil, problem(at, "%q stands here twice", key.Value)
		}
		v.set(key.Value, field{at, built})
	}
	for _, from := range merged {
		if err := v.mergeKey(from); err != nil {
			return nil, problem(from.at, "%v", err)
		}
	}
	return v, nil
}

var errMergeKey = errors.New("<< takes a map, or a list of maps")

// mergeKey adds what << stands for: keys that stand there themselves go first.
func (v *value) mergeKey(from *value) error {
	switch from.kind {
	case dict:
		for _, key := range from.keys {
			if _, there := v.of[key]; !there {
				v.set(key, from.of[key])
			}
		}
		return nil
	case list:
		for _, item := range from.items {
			if item.kind != dict {
				return errMergeKey
			}
			if err := v.mergeKey(item); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("%w, not %s", errMergeKey, from.kind)
	}
}
