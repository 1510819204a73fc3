package git

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"casq/transfer"
)

// refs maps full names (refs/heads/main) to object ids.
type refs map[string]string

// head is what HEAD is: "ref: refs/heads/main" or an object id, as in the file.
type head string

// branch is the name that a symbolic HEAD points to, which may not exist.
func (h head) branch() string {
	name, symbolic := strings.CutPrefix(string(h), "ref: ")
	if !symbolic {
		return ""
	}
	return name
}

// oursRefs is where claims keep refs in a mirror. No source's are taken.
const oursRefs = "refs/casq/"

// split takes those of claims, whose names are without refs/casq/ then, from all others.
func (r refs) split() (others, ours refs) {
	others, ours = refs{}, refs{}
	for name, oid := range r {
		if below, is := strings.CutPrefix(name, oursRefs); is {
			ours[below] = oid
		} else {
			others[name] = oid
		}
	}
	return others, ours
}

// checksum is the digest of a repository's refs: equal checksums mean the same
// refs on the same objects, and so the same history.
func (r refs) checksum(h head) string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(r)) {
		_, _ = fmt.Fprintf(hash, "%s %s\n", name, r[name])
	}
	_, _ = io.WriteString(hash, "HEAD "+string(h)+"\n")
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// parseListing reads what git ls-remote --symref prints. HEAD is "" when the
// source has none to show: it is unborn. A name that git itself would not take is an
// error that tells it: without it the mirror would not be the source's.
func parseListing(text string) (refs, head, error) {
	listed, top := refs{}, head("")
	for line := range strings.Lines(text) {
		value, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !found {
			return nil, "", fmt.Errorf("read the source's listing: line %q", transfer.Clip(line))
		}
		switch {
		case name == "HEAD":
			// The line with "ref: " comes before the one with the object id.
			if top.branch() == "" && (isObjectID(value) || isRefName(head(value).branch())) {
				top = head(value)
			}
		case strings.HasPrefix(value, "ref: "), strings.HasSuffix(name, "^{}"), strings.HasPrefix(name, oursRefs):
		case !isRefName(name):
			return nil, "", fmt.Errorf("the source has a ref %q, which is no name that git takes: rename or delete it there", transfer.Clip(name))
		case !isObjectID(value):
			return nil, "", fmt.Errorf("read the source's listing: object id %q", transfer.Clip(value))
		default:
			listed[name] = value
		}
	}
	return listed, top, nil
}

// parseRefs reads lines that begin with "<oid> <ref>", and takes prefix off the
// names.
func parseRefs(text, prefix string) refs {
	listed := refs{}
	for line := range strings.Lines(text) {
		if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3); len(fields) >= 2 {
			listed[strings.TrimPrefix(fields[1], prefix)] = fields[0]
		}
	}
	return listed
}

// isRefName is git's check-ref-format, for names below refs/. To git they are
// bytes, in no encoding.
func isRefName(name string) bool {
	if !strings.HasPrefix(name, "refs/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return false
	}
	for _, b := range []byte(name) {
		if b < 0x20 || b == 0x7f || strings.IndexByte(" ~^:?*[\\", b) >= 0 {
			return false
		}
	}
	for component := range strings.SplitSeq(name, "/") {
		if component == "" || component[0] == '.' || strings.HasSuffix(component, ".lock") {
			return false
		}
	}
	return true
}

func isObjectID(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f')
	}) < 0
}

// missingIn returns, sorted, the names whose value other does not have.
func (r refs) missingIn(other refs) []string {
	var names []string
	for name, oid := range r {
		if other[name] != oid {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// changes is one ref transaction, or two.
type changes struct {
	before, after refs
	// first are deletions that have to be done before a name can be made:
	// refs/heads/a goes before refs/heads/a/b can come, and the other way round. git
	// refuses both in one transaction.
	first []string
	// then are all other names that differ.
	then []string
}

func diff(before, after refs) changes {
	c := changes{before: before, after: after}
	var gone []string
	for name := range before {
		if _, stays := after[name]; !stays {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	created := after.missingIn(before)
	blocked := conflicts(gone, created)
	for _, name := range gone {
		if blocked[name] {
			c.first = append(c.first, name)
		} else {
			c.then = append(c.then, name)
		}
	}
	c.then = append(c.then, created...)
	return c
}

// conflicts returns which of gone are a folder of one of created, or lie in one.
func conflicts(gone, created []string) map[string]bool {
	isGone, isCreated := set(gone), set(created)
	blocked := map[string]bool{}
	for _, name := range created {
		for parent := range parents(name) {
			if isGone[parent] {
				blocked[parent] = true
			}
		}
	}
	for _, name := range gone {
		for parent := range parents(name) {
			if isCreated[parent] {
				blocked[name] = true
			}
		}
	}
	return blocked
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// parents yields a/b and a for a/b/c.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			if !yield(name[:at]) {
				return
			}
		}
	}
}

func (c changes) size() int { return len(c.first) + len(c.then) }

// script is the input of git update-ref --stdin. fence, when it is not "", is
// verified in the first transaction and deleted in the last one, together with
// scratch; every changed ref names its old value.
func (c changes) script(fence, fenceOID string, scratch refs) string {
	var b strings.Builder
	if len(c.first) > 0 {
		b.WriteString("start\n")
		if fence != "" {
			fmt.Fprintf(&b, "verify %s %s\n", fence, fenceOID)
		}
		c.write(&b, c.first)
		b.WriteString("prepare\ncommit\n")
	}
	b.WriteString("start\n")
	c.write(&b, c.then)
	if fence != "" {
		fmt.Fprintf(&b, "delete %s %s\n", fence, fenceOID)
	}
	for _, name := range slices.Sorted(maps.Keys(scratch)) {
		fmt.Fprintf(&b, "delete %s %s\n", name, scratch[name])
	}
	b.WriteString("prepare\ncommit\n")
	return b.String()
}

func (c changes) write(b *strings.Builder, names []string) {
	for _, name := range names {
		before, there := c.before[name]
		after, stays := c.after[name]
		switch {
		case !stays:
			fmt.Fprintf(b, "delete %s %s\n", name, before)
		case !there:
			fmt.Fprintf(b, "create %s %s\n", name, after)
		default:
			fmt.Fprintf(b, "update %s %s %s\n", name, after, before)
		}
	}
}
