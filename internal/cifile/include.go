package cifile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	// largestFile is how many bytes a file may have.
	largestFile = 1 << 20
	// mostIncludes is how many files may be included in all.
	mostIncludes = 150
)

// files is where they are read.
type files struct {
	fsys     fs.FS
	included int
}

// read reads a regular file of the folder.
func (f files) read(name string) ([]byte, error) {
	info, err := fs.Stat(f.fsys, name) // before it is opened: a FIFO would wait for a writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", name)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", name)
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, largestFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(text) > largestFile:
		return nil, fmt.Errorf("%s has more than %d bytes", name, largestFile)
	}
	return text, nil
}

// load reads a file and what it includes, and returns them as one: what includes goes
// before what is included. chain are the files that include it.
func (r *reader) load(at Position, name string, chain []string) (*value, *LineError) {
	if slices.Contains(chain, name) {
		return nil, problem(at, "%s includes itself: %s", name, strings.Join(append(chain, name), ", "))
	}
	text, err := r.files.read(name)
	if err != nil {
		return nil, problem(at, "%v", err)
	}
	v, p := r.parse(name, text)
	if p != nil {
		return nil, p
	}
	if v.kind != dict {
		return nil, problem(v.at, "the file is %s: it has to be a map of jobs", v.kind)
	}
	include, there := v.of["include"]
	if !there {
		return v, nil
	}
	under := newDict(v.at)
	for _, item := range r.includes(include) {
		r.files.included++
		if r.files.included > mostIncludes {
			return nil, problem(item.at, "more than %d files are included", mostIncludes)
		}
		one, p := r.load(item.at, item.text, append(slices.Clone(chain), name))
		if p != nil {
			return nil, p
		}
		under = merge(under, one)
	}
	merged := merge(under, v)
	return merged.without("include"), nil
}

func (v *value) without(key string) *value {
	rest := newDict(v.at)
	for _, k := range v.keys {
		if k != key {
			rest.set(k, v.of[k])
		}
	}
	return rest
}

// includes are the files that include names.
func (r *reader) includes(include field) (local []*value) {
	items := []*value{include.value}
	if include.value.kind == list {
		items = include.value.items
	}
	for _, item := range items {
		if item.kind == dict {
			item = r.localOf(item)
		}
		if item == nil {
			continue
		}
		if name := r.includePath(item); name != "" {
			local = append(local, &value{at: item.at, text: name})
		}
	}
	return local
}

func (r *reader) localOf(item *value) *value {
	for _, key := range item.keys {
		if key != "local" {
			r.wrong(item.of[key].at, "include:%s is not supported: include:local is", key)
			return nil
		}
	}
	if item.get("local") == nil {
		r.wrong(item.at, "an include is empty")
	}
	return item.get("local")
}

// includePath is the path in the folder, or "". A path that begins with / begins there.
func (r *reader) includePath(item *value) string {
	name := strings.TrimPrefix(item.text, "/")
	switch {
	case item.kind != scalar || item.tag != "!!str":
		r.wrong(item.at, "include is %s: it has to be a path", item.kind)
	case strings.Contains(name, "://"):
		r.wrong(item.at, "include:remote is not supported: include:local is")
	case strings.ContainsAny(name, "*$"):
		r.wrong(item.at, "wildcards and variables in include:local are not supported: %s", item.text)
	case !fs.ValidPath(path.Clean(name)) || path.Clean(name) == ".":
		r.wrong(item.at, "include:local leads out of the folder: %s", item.text)
	case path.Ext(name) != ".yml" && path.Ext(name) != ".yaml":
		r.wrong(item.at, "an included file ends in .yml or .yaml: %s", item.text)
	default:
		return path.Clean(name)
	}
	return ""
}
