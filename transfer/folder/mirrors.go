package folder

import (
	"fmt"
	"os"
	"path"
)

// GuardName is a file in each mirror. Every git process of ours that works on a
// mirror holds a shared lock on it, by a handle that it inherits, for as long
// as it lives (stopped, too). Who holds the exclusive lock knows that all lock files
// of git's are left-overs of the dead.
const GuardName = "casq.guard"

// MirrorAbove returns the mirror of ours in which a path lies; "" if it lies in
// no mirror. Files that only resemble a repository have no guard.
func (t *Tree) MirrorAbove(rel string) (string, error) {
	for above := path.Dir(rel); above != "."; above = path.Dir(above) {
		guard, err := KindOf(int(t.root.Fd()), above+"/"+GuardName)
		if Absent(err) || err == nil && guard == KindAbsent {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find a mirror: %w", err)
		}
		if is, err := IsMirror(t.root, above); is || err != nil {
			return t.name + "/" + above, err
		}
	}
	return "", nil
}

// IsMirror tells whether a folder is a complete bare repository. It asks for more
// than [isRepository] does: a folder of files may well have a config.
func IsMirror(parent *os.File, name string) (bool, error) {
	for _, part := range []struct {
		name string
		kind Kind
	}{{"HEAD", KindFile}, {"objects", KindDir}, {"refs", KindDir}} {
		is, err := KindOf(int(parent.Fd()), name+"/"+part.name)
		if err != nil || is != part.kind {
			return false, err
		}
	}
	return true, nil
}
