package git

import (
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestStagingIsDroppedWhileItIsListed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const all = 20
	for i := range all {
		_, err := b.Begin(t.Context(), b.place(string(rune('a'+i))))
		transfertest.Must(t, err)
	}
	// Its folder is named after its file was, where the file system lists them so.
	dropped := make(map[transfer.Staged]bool)
	transfertest.Must(t, b.ListStaging(t.Context(), func(s transfer.Staged) error {
		dropped[s] = true
		return b.DropStaging(t.Context(), s)
	}))
	if len(dropped) != all {
		t.Errorf("dropped %d of %d", len(dropped), all)
	}
	transfertest.WantNoStaging(t, b.target)
}
