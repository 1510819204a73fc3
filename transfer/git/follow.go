package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"
)

// follower brings what a mirror lacks of the source into it, below the refs of
// one claim, where no reader sees it.
type follower struct {
	mirror *mirror
	remote *remote
	claim  string
	hook   func(point string)

	have    refs // what the mirror's real refs are
	want    refs // what they are to be; all objects are there
	head    head
	scratch refs // full names of the claim's own refs
	// shown has the names, and HEAD, of which want has what the source had since the
	// first listing.
	shown map[string]bool
}

// rounds is how often the source is asked whether it has moved on.
const rounds = 3

// follow fetches until a listing of the source names nothing that is not there.
// Each round fetches only what differs, so that the cost is that of the change,
// and not of the number of refs: ten thousand refs that stay are not written.
//
// A source that changes faster than it can be followed must still be copied:
// after the last round it takes what has come. Every ref then is what the source
// had between the first and the last listing, and the events of its changes bring
// another run. (A listing is no snapshot either: a server reads its refs one
// after the other.) Where that cannot be said of a ref, the copy fails: to go on
// would leave it as it was before, and call that the new version.
func (f *follower) follow(ctx context.Context) error {
	if f.nothingNew() {
		return nil
	}
	var err error
	if f.have, err = f.mirror.realRefs(ctx); err != nil {
		return err
	}
	if f.head, err = f.mirror.head(); err != nil {
		return err
	}
	f.want, f.scratch, f.shown = maps.Clone(f.have), refs{}, map[string]bool{}
	for round := range rounds {
		done, err := f.round(ctx, round)
		if done || err != nil {
			return err
		}
	}
	for name := range f.want {
		if !f.shown[name] {
			return unfetched(name)
		}
	}
	return nil
}

// nothingNew tells whether a local source and the mirror say the same in their files, without
// any process. Where they seem to differ, or are not as git usually has them, git is asked,
// which alone knows what the source shows. That all objects are gone is noticed here; one that a
// ref of the mirror lacks a verification finds.
func (f *follower) nothingNew() bool {
	if f.remote.folder == nil {
		return false
	}
	have, err := refFiles(f.mirror.dir)
	if err != nil {
		return false
	}
	top, err := f.mirror.head()
	if err != nil {
		return false
	}
	// The source last: it is as the mirror is now.
	listed, err := refFiles(f.remote.folder)
	if err != nil || !maps.Equal(listed, have) {
		return false
	}
	text, err := folder.ReadSmall(f.remote.folder, "HEAD")
	if err != nil || head(strings.TrimSuffix(text, "\n")) != top {
		return false
	}
	if objects, err := filesBelow(f.mirror.dir, "objects", isObject); err != nil || len(objects) == 0 && len(have) > 0 {
		return false
	}
	f.have, f.want, f.head, f.scratch = have, maps.Clone(have), top, refs{}
	f.hook(pointListed)
	return true
}

func unfetched(name string) error {
	return fmt.Errorf("%w: its refs come and go, and %s could not be fetched meanwhile", transfer.ErrChanged, name)
}

// round lists the source and fetches what differs from want. True: nothing does.
func (f *follower) round(ctx context.Context, round int) (bool, error) {
	listed, top, err := f.list(ctx)
	if err != nil {
		return false, err
	}
	detached := top != "" && top.branch() == "" && top != f.head
	changed := listed.missingIn(f.want)
	maps.DeleteFunc(f.want, func(name, _ string) bool { _, stays := listed[name]; return !stays })
	if top != "" && !detached {
		f.head, f.shown["HEAD"] = top, true
	}
	for name, oid := range listed {
		f.shown[name] = f.shown[name] || f.want[name] == oid
	}
	if len(changed) == 0 && !detached {
		return true, nil
	}
	if round == rounds-1 {
		if detached && !f.shown["HEAD"] {
			return false, unfetched("HEAD")
		}
		return false, nil
	}
	if detached {
		changed = append(changed, "HEAD")
	}
	got, err := f.fetch(ctx, round, changed)
	if err != nil {
		return false, err
	}
	for name := range got {
		f.shown[name] = true
	}
	if oid, there := got["HEAD"]; there {
		f.head = head(oid)
		delete(got, "HEAD")
	}
	maps.Copy(f.want, got)
	return false, nil
}

// list lists the source. Its refs may be others by the time that it returns.
func (f *follower) list(ctx context.Context) (refs, head, error) {
	listed, top, err := f.mirror.git.list(ctx, f.remote)
	f.hook(pointListed)
	return listed, top, err
}

// fetch gets the named refs of the source into refs/casq/<claim>/<round>/. A
// round has a folder of its own, since refs/heads/a of one may be refs/heads/a/b in
// the next.
//
// Git fetches no name at all when one of them is not there any more. So those
// that are still there are fetched again, and no name is added to them: however many
// refs come and go beside, they are fewer each time.
func (f *follower) fetch(ctx context.Context, round int, names []string) (refs, error) {
	into := fmt.Sprintf("%s%s/%d/", oursRefs, f.claim, round)
	for len(names) > 0 {
		err := f.fetchInto(ctx, into, names)
		if err == nil {
			break
		}
		gone := vanished(err)
		if gone == "" {
			return nil, err
		}
		listed, top, err := f.list(ctx)
		if err != nil {
			return nil, err
		}
		before := len(names)
		names = slices.DeleteFunc(names, func(name string) bool {
			_, there := listed[name]
			return name == gone || !there && (name != "HEAD" || top == "")
		})
		if len(names) == before {
			return nil, unfetched(gone)
		}
	}
	got, err := f.mirror.refs(ctx, into)
	if err != nil {
		return nil, err
	}
	for name, oid := range got {
		f.scratch[into+name] = oid
	}
	return got, nil
}

// vanished is the name of the ref that git has asked for in vain; "" if that is
// not what it says.
func vanished(err error) string {
	failure, ok := errors.AsType[*gitError](err)
	if !ok {
		return ""
	}
	_, after, _ := strings.Cut(failure.stderr, "couldn't find remote ref ")
	name, _, _ := strings.Cut(after, "\n")
	return name
}

func (f *follower) fetchInto(ctx context.Context, into string, names []string) error {
	var specs strings.Builder
	for _, name := range names {
		fmt.Fprintf(&specs, "+%s:%s%s\n", name, into, name)
	}
	args := []string{
		// The claim's refs need not outlive a crash; the objects do.
		"-c", "core.fsync=all,-reference",
		"fetch", "--quiet", "--atomic", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--update-shallow", "--refmap=", "--stdin",
	}
	args = append(append(args, f.remote.options()...), "--", f.remote.url)
	_, err := f.mirror.run(ctx, gitCall{args: args, stdin: specs.String(), source: f.remote})
	return f.remote.missing(err)
}

// list lists the refs and HEAD of a source. HEAD is "" where it is unborn and
// the source is not local: the protocol does not tell its name then.
func (g *git) list(ctx context.Context, r *remote) (refs, head, error) {
	args := append([]string{"ls-remote", "--quiet", "--symref"}, r.options()...)
	out, err := g.run(ctx, gitCall{args: append(args, "--", r.url), source: r})
	if err != nil {
		return nil, "", r.missing(err)
	}
	listed, top, err := parseListing(out)
	if err != nil || top != "" || r.folder == nil {
		return listed, top, err
	}
	out, err = g.run(ctx, gitCall{
		args:   []string{"symbolic-ref", "HEAD"},
		gitDir: fmt.Sprintf("/proc/self/fd/%d", sourceFD), source: r,
	})
	if err != nil {
		return nil, "", errors.Join(errors.New("read HEAD of the source"), err)
	}
	return listed, head("ref: " + strings.TrimSpace(out)), nil
}

// fence is the name of the claim's fence ref.
func (f *follower) fence() string { return oursRefs + f.claim + "/fence" }

// raiseFence makes the fence ref: the last step of a copy, long before the row is
// checked. It points to the empty blob, which every repository can have.
func (f *follower) raiseFence(ctx context.Context) (string, error) {
	out, err := f.mirror.run(ctx, gitCall{args: []string{"hash-object", "-w", "-t", "blob", "--stdin"}})
	if err != nil {
		return "", fmt.Errorf("write the fence's object: %w", err)
	}
	oid := strings.TrimSpace(out)
	_, err = f.mirror.run(ctx, gitCall{args: []string{"update-ref", f.fence(), oid}})
	if err != nil {
		return "", fmt.Errorf("make the fence ref: %w", err)
	}
	return oid, nil
}
