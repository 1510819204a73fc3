package lease

// key is the only place that makes names of keys. The braces are Redis
// Cluster's hash tag: what is added for a lease later lies in the same slot.
func key(name string) string { return "casq:lease:{" + name + "}" }
