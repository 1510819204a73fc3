package folder

import "os"

// WithoutOpenat2 makes the kernel an old one, for this folder.
func WithoutOpenat2(r *Root) { r.now.walk = true }

// WatchFlushes has each flush of a folder be one of everything, and calls flush in its place.
func WatchFlushes(r *Root, flush func() error) {
	r.now.flushes.many, r.now.flushes.all = 1, func(*os.File) error { return flush() }
	r.now.flushes.usable = func(*os.File) bool { return true }
}

// Flushing is how many wait for the next flush of a folder.
func Flushing(r *Root) int {
	f := &r.now.flushes
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		return 0
	}
	return f.next.n
}
