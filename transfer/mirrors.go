package transfer

import (
	"fmt"
	"os"
	"path"
)

// guardName is a file in each mirror. Every git process of ours that works on a
// mirror holds a shared lock on it, by a handle that it inherits, for as long
// as it lives (stopped, too). Who holds the exclusive lock knows that all lock files
// of git's are left-overs of the dead.
const guardName = "casq.guard"

// mirrorAbove returns the mirror of ours in which a path lies; "" if it lies in
// no mirror. Files that only resemble a repository have no guard.
func (t *tree) mirrorAbove(rel string) (string, error) {
	for above := path.Dir(rel); above != "."; above = path.Dir(above) {
		guard, err := leafKind(int(t.root.Fd()), above+"/"+guardName)
		if absent(err) || err == nil && guard == kindAbsent {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find a mirror: %w", err)
		}
		if is, err := isMirror(t.root, above); is || err != nil {
			return t.name + "/" + above, err
		}
	}
	return "", nil
}

// isMirror tells whether a folder is a complete bare repository. It asks for more
// than [isRepository] does: a folder of files may well have a config.
func isMirror(parent *os.File, name string) (bool, error) {
	for _, part := range []struct {
		name string
		kind kind
	}{{"HEAD", kindFile}, {"objects", kindDir}, {"refs", kindDir}} {
		is, err := leafKind(int(parent.Fd()), name+"/"+part.name)
		if err != nil || is != part.kind {
			return false, err
		}
	}
	return true, nil
}
