package transfer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type walker interface {
	Walk(ctx context.Context, prefix, after string, each func(Placed) error) error
}

func walked(t *testing.T, w walker, prefix, after string) (keys []string) {
	t.Helper()
	must(t, w.Walk(t.Context(), prefix, after, func(p Placed) error {
		if age := time.Since(p.Changed); age < -time.Minute || age > time.Hour {
			t.Errorf("%s changed at %s", p.Key, p.Changed)
		}
		keys = append(keys, p.Key)
		return nil
	}))
	return keys
}

func wantKeys(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWalkNamesFilesInTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	wantKeys(t, walked(t, b, "none", ""))
	for _, key := range []string{"a/b", "a-b", "a.c", "a/b.c", "a0", "p/.casq/x", "p/x", "é/ü", ".casqx/y"} {
		write(t, b.target, key, "bytes")
	}
	// What no run has put there.
	write(t, b.target, ".casq/staging", "bytes")
	write(t, b.target, "with\ncontrol", "bytes")
	write(t, b.target, "git/HEAD", "bytes")
	must(t, os.MkdirAll(filepath.Join(b.target, "git", "refs"), 0o755))
	must(t, os.MkdirAll(filepath.Join(b.target, "git", "objects"), 0o755))
	must(t, os.Symlink(b.source, filepath.Join(b.target, "link")))
	must(t, os.Mkdir(filepath.Join(b.target, "empty"), 0o755))

	all := []string{".casqx/y", "a-b", "a.c", "a/b", "a/b.c", "a0", "p/.casq/x", "p/x", "é/ü"}
	wantKeys(t, walked(t, b, "", ""), all...)
	wantKeys(t, walked(t, b, "p", ""), "x")
	for i, after := range all {
		wantKeys(t, walked(t, b, "", after), all[i+1:]...)
	}
	stop := fmt.Errorf("enough")
	wantError(t, b.Walk(t.Context(), "", "", func(Placed) error { return stop }), stop)
}

// A folder with more names than are kept is read again for the next ones.
func TestWalkThroughLargeFolders(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	var want []string
	for range 500 {
		key := strings.Repeat("x/", rand.IntN(3)) + fmt.Sprintf("%c%d", "-/0"[rand.IntN(2)*2], rand.IntN(1000))
		write(t, b.target, key, "bytes")
		want = append(want, key)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, most := range []int{1, 7, 100} {
		var got []string
		w := walk{most: most, sort: sortFile, parts: []string{""}, each: func(p Placed) error {
			got = append(got, p.Key)
			return nil
		}}
		must(t, b.Files.target.walk(t.Context(), "", w))
		wantKeys(t, got, want...)
	}
}

func TestWalkNamesMirrors(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	for _, key := range []string{"group/b", "group-a", "group/b-c"} {
		for _, part := range []string{"objects", "refs"} {
			must(t, os.MkdirAll(filepath.Join(b.target, "p", key, part), 0o755))
		}
		write(t, b.target, "p/"+key+"/HEAD", "ref: refs/heads/main\n")
	}
	write(t, b.target, "p/file", "bytes")
	write(t, b.target, "p/folder/config", "bytes")
	wantKeys(t, walked(t, b, "p", ""), "group-a", "group/b", "group/b-c")
	wantKeys(t, walked(t, b, "p", "group/b"), "group/b-c")
}

func TestWalkThroughABucket(t *testing.T) {
	t.Parallel()
	b := setupBucket(t, "")
	for _, key := range []string{"p/a/b", "p/a-b", "q"} {
		write(t, b.source, key, "bytes")
		_, err := b.sync(t, key, "{}")
		must(t, err)
	}
	b.begin(t, "r") // which leaves a mark
	wantKeys(t, walked(t, b, "", ""), "p/a-b", "p/a/b", "q")
	wantKeys(t, walked(t, b, "p", "a-b"), "a/b")
}
