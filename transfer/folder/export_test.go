package folder

// WithoutOpenat2 makes the kernel an old one, for this folder.
func WithoutOpenat2(r *Root) { r.now.walk = true }
