package runner

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/google/uuid"
)

// hashOf is how tokens are kept and compared: whoever reads the database learns none.
func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// newJobToken is of one attempt at one build.
func newJobToken() string { return "glcbt-" + rand.Text() + rand.Text() }

// update is a runner's X-GitLab-Last-Update: the newest tick with news of builds or
// runners that had been read before the queue was asked, in vain.
type update struct {
	tick  int64
	nonce uuid.UUID
}

// String has little of the nonce: two histories of a database share neither tick nor
// that.
func (u update) String() string {
	if u == (update{}) {
		return ""
	}
	return strconv.FormatInt(u.tick, 10) + "-" + hex.EncodeToString(u.nonce[:8])
}
