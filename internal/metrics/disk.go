package metrics

import "golang.org/x/sys/unix"

// disks are how full the file systems are that folders are on, by transfer. A folder that
// is not there, or does not answer, is left out.
func disks(folders map[string]string) []value {
	var values []value
	for transfer, folder := range folders {
		var fs unix.Statfs_t
		if err := unix.Statfs(folder, &fs); err != nil {
			continue
		}
		labels := []string{transfer}
		values = append(values,
			value{"casq_target_free_bytes", labels, float64(fs.Bavail) * float64(fs.Bsize)},
			value{"casq_target_size_bytes", labels, float64(fs.Blocks) * float64(fs.Bsize)})
	}
	return values
}
