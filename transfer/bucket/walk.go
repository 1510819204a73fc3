package bucket

import (
	"context"
	"strings"

	"casq/transfer"

	"gocloud.dev/blob"
)

// Walk calls each for the objects below a prefix whose keys are above after, in the
// order of the bytes of their keys, and ends with its first error. Servers list keys in the order of their bytes.
func (f *Files) Walk(ctx context.Context, prefix, after string, each func(transfer.Placed) error) error {
	if prefix != "" {
		prefix += "/"
	}
	return f.bucket.eachObject(ctx, prefix, func(o *blob.ListObject) error {
		key := strings.TrimPrefix(o.Key, prefix)
		if fit := transfer.BadPath(o.Key) == "" && checkKey(o.Key) == nil; key <= after || !fit {
			return nil
		}
		return each(transfer.Placed{Key: key, Changed: o.ModTime})
	})
}
