package transfer

import (
	"encoding/json"
	"fmt"
)

// Mark is what a target holds so that it can be told from every other folder: from
// the empty one below a file system that is not mounted, and from another site's.
// It is the file .casq/target.
type Mark struct {
	// ID is the target's, a UUID.
	ID string `json:"target"`
	// Transfer says of what it is a target.
	Transfer string `json:"transfer"`
	// Home names the database that made the mark.
	Home string `json:"home"`
}

// MarkName is the mark's name in the staging folder, where no key leads to.
const MarkName = "target"

// RetiredName is that of the record, likewise, which says why a folder or bucket is no target
// any more.
const RetiredName = "retired"

// ParseMark reads the text of a mark.
func ParseMark(text []byte, at string) (mark Mark, err error) {
	if err := json.Unmarshal(text, &mark); err != nil || mark.ID == "" {
		return Mark{}, fmt.Errorf("%w: %s is not a mark as casq makes it: %q", ErrElsewhere, at, Clip(string(text)))
	}
	return mark, nil
}
