package cifile

import (
	"slices"
	"strings"
)

const (
	deepestExtends   = 11
	deepestReference = 10
)

// extender resolves extends, in all jobs of a file.
type extender struct {
	*reader
	root *value
	done map[string]*value
}

// extend returns the file with its jobs' extends resolved.
func (r *reader) extend(root *value) *value {
	e := extender{r, root, make(map[string]*value)}
	whole := newDict(root.at)
	for _, name := range root.keys {
		f := root.of[name]
		if f.value.kind == dict && !isGlobal(name) {
			if v := e.job(name, f.at, nil); v != nil {
				f.value = v
			}
		}
		whole.set(name, f)
	}
	return whole
}

// job returns a job with what it extends, or nil after a problem.
func (e extender) job(name string, at Position, chain []string) *value {
	if v, done := e.done[name]; done {
		return v
	}
	if slices.Contains(chain, name) {
		e.wrong(at, "extends leads back to where it began: %s", strings.Join(append(chain, name), ", "))
		return nil
	}
	if len(chain) >= deepestExtends {
		e.wrong(at, "extends is nested more than %d deep", deepestExtends)
		return nil
	}
	f, there := e.root.of[name]
	switch {
	case !there:
		e.wrong(at, "extends names %q, which is no job", name)
		return nil
	case f.value.kind != dict:
		e.wrong(at, "extends names %q, which is %s", name, f.value.kind)
		return nil
	}
	v := f.value
	if extends, there := v.of["extends"]; there {
		v = e.under(v, extends, append(slices.Clone(chain), name))
	}
	if v != nil {
		e.done[name] = v
	}
	return v
}

// under puts what a job extends under it; of several the last goes first.
func (e extender) under(v *value, extends field, chain []string) *value {
	var whole *value
	names := e.texts(extends.value, "extends")
	for _, name := range names {
		one := e.job(name, extends.at, chain)
		if one == nil {
			return nil
		}
		whole = merge(whole, one.without("extends"))
	}
	return merge(whole, v.without("extends"))
}

// resolver replaces !reference [job, key...] by what stands there.
type resolver struct {
	*reader
	root *value
}

// resolve returns a value without references, or nil after a problem. A list in a list is
// left as it is: scripts, and what else may be nested, are made flat by their readers.
func (s resolver) resolve(v *value, depth int) *value {
	if p := s.count(v.at, 1); p != nil {
		if len(s.problems) == 0 || *s.problems[len(s.problems)-1] != *p {
			s.problems = append(s.problems, p)
		}
		return nil
	}
	switch {
	case v.kind == list && v.tag == reference:
		if depth >= deepestReference {
			s.wrong(v.at, "!reference is nested more than %d deep, or leads back to where it began", deepestReference)
			return nil
		}
		found := s.find(v)
		if found == nil {
			return nil
		}
		return s.resolve(found, depth+1)
	case v.kind == list:
		whole := &value{at: v.at, kind: list, tag: v.tag}
		for _, item := range v.items {
			one := s.resolve(item, depth)
			if one == nil {
				return nil
			}
			whole.items = append(whole.items, one)
		}
		return whole
	case v.kind == dict:
		whole := newDict(v.at)
		for _, key := range v.keys {
			f := v.of[key]
			if f.value = s.resolve(f.value, depth); f.value == nil {
				return nil
			}
			whole.set(key, f)
		}
		return whole
	default:
		return v
	}
}

// find returns what a reference names.
func (s resolver) find(v *value) *value {
	names := s.texts(v, reference)
	if len(names) != len(v.items) || len(names) < 2 {
		s.wrong(v.at, "!reference takes the names of a job and of keys in it")
		return nil
	}
	found := s.root
	for _, name := range names {
		if found = found.get(name); found == nil {
			s.wrong(v.at, "!reference [%s]: there is no %q", strings.Join(names, ", "), name)
			return nil
		}
	}
	return found
}
