package folder

import (
	"log/slog"
	"os"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A run that began before a target was given up changes nothing there, and no worker takes
// it for its target again.
func TestATargetThatIsGivenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Root {
		root, err := OpenTarget(dir, slog.New(slog.DiscardHandler))
		transfertest.Must(t, err)
		t.Cleanup(func() { transfertest.Must(t, root.Close()) })
		return root
	}
	worker, promotion := open(), open()
	transfertest.Must(t, worker.Keep(transfertest.NewMark(), true))
	stage, err := worker.Begin(t.Context(), "a", transfertest.NewClaim())
	transfertest.Must(t, err)
	transfertest.Must(t, stage.MakeDir())
	transfertest.Must(t, WriteFile(stage.Dir(), "bytes", "late"))

	// A record beside the mark is of a try that died before its end.
	transfertest.Must(t, os.WriteFile(dir+"/.casq/"+transfer.RetiredName, []byte("earlier"), 0o600))
	if record, err := promotion.Retired(); err != nil || record != nil {
		t.Errorf("it was not given up, and has %q, %v", record, err)
	}
	for _, text := range []string{"first", "why"} { // it may be done again
		transfertest.Must(t, promotion.Retire([]byte(text)))
	}
	if record, err := promotion.Retired(); err != nil || string(record) != "why" {
		t.Errorf("the record is %q, %v", record, err)
	}
	free := func(*os.File, string) (uint, error) { return 0, nil }
	transfertest.WantError(t, stage.PutInPlace(t.Context(), "bytes", free, func(string) {}), transfer.ErrElsewhere)
	transfertest.WantAbsent(t, dir, "a")
	if mark, err := promotion.ReadMark(); err != nil || mark.ID != "" {
		t.Errorf("the mark is %v, %v", mark, err)
	}
	transfertest.Must(t, stage.Drop(t.Context(), false))
}
