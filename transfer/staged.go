package transfer

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Staged names the staging of one claim: in a bucket .casq/<Folder>/<Claim>/, in a folder
// .casq/<room>/<Folder>.<Claim>.
type Staged struct {
	Folder string // the SHA-256 of prefix/key in hexadecimal digits
	Claim  string // as in [Place]
}

// Check returns [ErrBadPlace] for what no run can have staged.
func (s Staged) Check() error {
	if !IsStagingName(s.Folder) {
		return fmt.Errorf("%w: %q is no folder of staging", ErrBadPlace, Clip(s.Folder))
	}
	if !IsUUID(s.Claim) {
		return fmt.Errorf("%w: claim %q is not a UUID in lower case", ErrBadPlace, Clip(s.Claim))
	}
	return nil
}

// IsStagingName tells whether [StagingName] can have made a name.
func IsStagingName(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 64 && name == strings.ToLower(name)
}

// Placed is a resource that is in place in the target.
type Placed struct {
	Key string // below the prefix
	// Changed is when it was put there last, by the clock of the machine or
	// server that has the target.
	Changed time.Time
}
