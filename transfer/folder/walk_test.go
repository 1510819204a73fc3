package folder

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A folder with more names than are kept is read again for the next ones.
func TestWalkThroughLargeFolders(t *testing.T) {
	t.Parallel()
	target := t.TempDir()
	root, err := OpenTarget(target, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	defer func() { transfertest.Must(t, root.Close()) }()
	sort := func(_ *os.File, entry os.DirEntry) (string, error) {
		if entry.IsDir() {
			return entry.Name() + "/", nil
		}
		return entry.Name(), nil
	}
	var want []string
	for range 500 {
		key := strings.Repeat("x/", rand.IntN(3)) + fmt.Sprintf("%c%d", "-/0"[rand.IntN(2)*2], rand.IntN(1000))
		transfertest.Write(t, target, key, "bytes")
		want = append(want, key)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, most := range []int{1, 7, 100} {
		var got []string
		w := Walk{most: most, Sort: sort, Parts: []string{""}, Each: func(p transfer.Placed) error {
			got = append(got, p.Key)
			return nil
		}}
		transfertest.Must(t, root.Walk(t.Context(), "", w))
		transfertest.WantKeys(t, got, want...)
	}
}

// A folder that is replaced while it is walked through ends the walk by an error: what
// was not named would be taken for absent.
func TestWalkThroughAFolderThatIsReplaced(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "target")
	transfertest.Write(t, target, "a", "bytes")
	root, err := OpenTarget(target, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	defer func() { transfertest.Must(t, root.Close()) }()
	w := Walk{
		Sort:  func(_ *os.File, entry os.DirEntry) (string, error) { return entry.Name(), nil },
		Parts: []string{""},
		Each: func(transfer.Placed) error {
			if err := os.Rename(target, target+".old"); err != nil {
				return err
			}
			return os.Mkdir(target, 0o755)
		},
	}
	if err := root.Walk(t.Context(), "", w); !errors.Is(err, transfer.ErrElsewhere) {
		t.Errorf("the walk ended with %v", err)
	}
}
