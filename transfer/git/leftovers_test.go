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
	dropped := 0
	transfertest.Must(t, b.ListStaging(t.Context(), func(s transfer.Staged) error {
		dropped++
		return b.DropStaging(t.Context(), s)
	}))
	if dropped != all {
		t.Errorf("dropped %d of %d", dropped, all)
	}
	transfertest.WantNoStaging(t, b.target)
}
