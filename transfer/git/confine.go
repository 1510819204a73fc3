package git

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"casq/internal/landlock"

	"golang.org/x/sys/unix"
)

// systemFolders are where programs and what they load lie; nothing in them is
// secret. systemFiles are what the C library, git and the shell read besides.
var (
	systemFolders = []string{
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/sys/devices/system/cpu",
	}
	systemFiles = []string{
		"/dev/null", "/dev/zero", "/dev/urandom", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/passwd", "/etc/group",
		"/etc/nsswitch.conf", "/etc/localtime",
	}
)

// confinement is what a git that reads a local source may read besides that.
type confinement struct {
	folders, files []*os.File
}

func (c *confinement) close() {
	for _, file := range slices.Concat(c.folders, c.files) {
		_ = file.Close()
	}
}

func (c *confinement) open(paths []string) []*os.File {
	var opened []*os.File
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			opened = append(opened, os.NewFile(uintptr(fd), path))
		}
	}
	return opened
}

// confine has every git that serves a local source read nothing else than that
// repository, the folder it writes to, and what programs need: a link in the
// repository that leads elsewhere leads to an error, whenever it was put there. Where
// the kernel cannot do that, inspection before and after is what is left.
func (g *git) confine(ctx context.Context, log *slog.Logger, supported bool) {
	if !supported {
		log.Info("the kernel has no Landlock: that git reads nothing but the source is checked before and after, not enforced")
		return
	}
	c := &confinement{}
	c.folders, c.files = c.open(append(slices.Clone(systemFolders), foldersOf(g.path)...)), c.open(systemFiles)
	g.confined = c
	if _, err := g.run(ctx, gitCall{args: []string{"version"}, source: &remote{folder: c.folders[0]}}); err != nil {
		g.confined = nil
		c.close()
		if ctx.Err() == nil {
			log.Warn("git does not run where it can read only what it should, so it is not confined to a source", "err", err)
		}
	}
}

// foldersOf are where a git has its programs and libraries. Above its bin may be a
// home, such as that of ~/bin/git, which has more than those.
func foldersOf(git string) []string {
	folders := []string{filepath.Dir(git)}
	target, err := filepath.EvalSymlinks(git)
	if err != nil {
		return folders
	}
	folders = append(folders, filepath.Dir(target))
	if above, bin := filepath.Split(filepath.Dir(target)); bin == "bin" {
		for _, name := range []string{"lib", "lib64", "libexec", "share"} {
			folders = append(folders, above+name)
		}
	}
	return folders
}

// onThread calls f, which starts a process, on a thread that is kept for as long
// as that lives: Pdeathsig fires when the thread that forked ends.
func (g *git) onThread(call gitCall, f func() error) error {
	if g.confined == nil || call.source == nil || call.source.folder == nil {
		return onOwnThread(f)
	}
	folders := slices.Concat(g.confined.folders, call.source.folders())
	for _, dir := range []*os.File{call.dir, call.lender} {
		if dir != nil {
			folders = append(folders, dir)
		}
	}
	return landlock.Run(folders, g.confined.files, f)
}
