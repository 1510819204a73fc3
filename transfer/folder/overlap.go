package folder

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Folders are those that a transfer reads from and writes to; nil where it has none.
type Folders interface {
	SourceFolder() *Root
	TargetFolder() *Root
}

// Apart returns an error when folders of files and of repositories lie inside
// each other, so that a key of a file could reach into a repository. Two sources
// may.
func Apart(files, repositories Folders) error {
	for _, pair := range []struct {
		what string
		a, b *Root
	}{
		{"the targets of files and of repositories", files.TargetFolder(), repositories.TargetFolder()},
		{"the target of files and the source of repositories", files.TargetFolder(), repositories.SourceFolder()},
		{"the source of files and the target of repositories", files.SourceFolder(), repositories.TargetFolder()},
	} {
		if pair.a == nil || pair.b == nil {
			continue
		}
		if err := pair.a.Apart(pair.b); err != nil {
			return fmt.Errorf("%s: %w", pair.what, err)
		}
	}
	return nil
}

// OfSource is the folder of a source; nil if that is none.
func OfSource(source transfer.Source) *Root {
	if s, ok := source.(interface{ Folder() *Root }); ok {
		return s.Folder()
	}
	return nil
}

// Apart returns an error when two folders lie inside each other.
func (r *Root) Apart(other *Root) error {
	a, err := r.Enter()
	if err != nil {
		return err
	}
	defer a.Leave()
	b, err := other.Enter()
	if err != nil {
		return err
	}
	defer b.Leave()
	return disjoint(a, b)
}

// disjoint refuses two folders of which one contains the other, under whatever
// names: through links, which opening has followed, and through bind mounts.
func disjoint(a, b *Tree) error {
	inside, err := overlap(a, b)
	if err != nil {
		return fmt.Errorf("check whether %s and %s overlap: %w", a.name, b.name, err)
	}
	if inside {
		return fmt.Errorf("%s and %s are one folder, or lie inside each other; use separate folders", a.name, b.name)
	}
	return nil
}

func overlap(a, b *Tree) (bool, error) {
	for _, pair := range [][2]*Tree{{a, b}, {b, a}} {
		below, err := pair[0].isAbove(pair[1])
		if below || err != nil {
			return below, err
		}
	}
	atA, knownA := a.onDevice()
	atB, knownB := b.onDevice()
	return knownA && knownB && atA.device == atB.device &&
		(within(atA.path, atB.path) || within(atB.path, atA.path)), nil
}

// within tells whether a path is at another one, or below it.
func within(path, other string) bool {
	return path == other || strings.HasPrefix(path, strings.TrimSuffix(other, "/")+"/")
}

// isAbove tells whether the folder is met on the way from another one up to the
// root. That sees through links and a bind mount of the folder itself.
func (t *Tree) isAbove(other *Tree) (bool, error) {
	at, err := OpenChild(other.root, ".")
	if err != nil {
		return false, err
	}
	defer func() { _ = at.Close() }()
	for {
		var here, up unix.Stat_t
		if err := unix.Fstat(int(at.Fd()), &here); err != nil {
			return false, err
		}
		if here.Dev == t.dev && here.Ino == t.ino {
			return true, nil
		}
		above, err := openAbove(at)
		if errors.Is(err, unix.EACCES) {
			return false, nil // what is above may not be read
		}
		if err != nil {
			return false, err
		}
		_ = at.Close()
		at = above
		if err := unix.Fstat(int(at.Fd()), &up); err != nil {
			return false, err
		}
		if up.Dev == here.Dev && up.Ino == here.Ino {
			return false, nil // the root is its own parent
		}
	}
}

func openAbove(dir *os.File) (*os.File, error) {
	fd, err := RetryOpen(func() (int, error) {
		return unix.Openat(int(dir.Fd()), "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(dir.Name(), "..")), nil
}

// devicePath is where a folder is on its device. It is the same for all mounts
// of the folder, also of those above it.
type devicePath struct {
	device string // as in mountinfo
	path   string
}

// onDevice finds the folder in the kernel's list of mounts; false: it cannot
// be told.
func (t *Tree) onDevice() (devicePath, bool) {
	var st unix.Statx_t
	if unix.Statx(int(t.root.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return devicePath{}, false
	}
	folder, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", t.root.Fd()))
	if err != nil {
		return devicePath{}, false
	}
	list, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return devicePath{}, false
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[0] != strconv.FormatUint(st.Mnt_id, 10) {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if !within(folder, point) {
			return devicePath{}, false
		}
		return devicePath{fields[2], path.Join(root, strings.TrimPrefix(folder, point))}, true
	}
	return devicePath{}, false
}

// mountEscapes are what the kernel writes for characters that would end a field.
var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func unescape(field string) string { return mountEscapes.Replace(field) }
