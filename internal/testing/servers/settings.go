package servers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settingsFile is included at the end of postgresql.conf. ALTER SYSTEM still
// wins over it.
const settingsFile = "casq.conf"

// defaultSettings are those of a server on a machine that runs many.
func defaultSettings(durable bool) map[string]string {
	settings := map[string]string{
		"max_connections":           "300",
		"max_prepared_transactions": "10",
		"max_wal_senders":           "10",
		"max_replication_slots":     "10",
		"wal_level":                 "replica",
		"hot_standby":               "on",
		"shared_buffers":            "32MB",
		"huge_pages":                "off",
		"max_wal_size":              "256MB",
		"logging_collector":         "off",
		"log_destination":           "stderr",
		"log_line_prefix":           "%m [%p] %q%u@%d %a ",
		"log_timezone":              "UTC",
		"timezone":                  "UTC",
		"jit":                       "off",
		// Segments are files in the data folder, so that none stays in
		// /dev/shm when the server is killed.
		"dynamic_shared_memory_type": "mmap",
		// A standby comes back soon after its primary does.
		"wal_retrieve_retry_interval": "100ms",
		// full_page_writes stays on: the kernel may break off a page's write
		// when its process gets SIGKILL, also where nothing is flushed.
		"full_page_writes": "on",
	}
	if !durable {
		// What the kernel has been given survives the death of processes,
		// which is all that is done to these servers.
		settings["fsync"] = "off"
	}
	return settings
}

// renderSettings returns the file's content, sorted by name.
func renderSettings(settings map[string]string) []byte {
	var b strings.Builder
	b.WriteString("# Written at each start and reload.\n")
	quote := strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(settings[name]))
	}
	return []byte(b.String())
}
