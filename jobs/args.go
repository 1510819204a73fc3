package jobs

import "casq/registry"

// SyncArgs asks for a resource to be copied at a version. A job whose version is
// not the row's any more is a cheap no-op.
type SyncArgs struct {
	ResourceKind string `json:"kind"`
	ResourceID   string `json:"resource_id"`
	Version      int64  `json:"version"`
}

// Kind is River's name of the job.
func (SyncArgs) Kind() string { return "casq_sync" }

func (a SyncArgs) token() registry.Token {
	return registry.Token{Kind: a.ResourceKind, ResourceID: a.ResourceID, Version: a.Version}
}

// RemoveArgs asks for a resource to be removed at a version, likewise.
type RemoveArgs struct {
	ResourceKind string `json:"kind"`
	ResourceID   string `json:"resource_id"`
	Version      int64  `json:"version"`
}

// Kind is River's name of the job.
func (RemoveArgs) Kind() string { return "casq_remove" }

func (a RemoveArgs) token() registry.Token { return SyncArgs(a).token() }
