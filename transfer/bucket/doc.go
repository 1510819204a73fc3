// Package bucket moves files into object storage, and reads them from there. A bucket
// has no rename, no locks and no handles, so the guarantee is a weaker one: once Begin
// of a later claim has returned, an earlier run can no longer tell the server to copy to
// the place; what the server was told before may still be carried out. A run knows
// whether it may ([Files.Unfenced], and Contested of a run), and its caller compares the
// place later. ../DESIGN.md has the steps.
//
// Buckets are opened by URL; the program imports the drivers of gocloud.dev/blob that it
// wants.
package bucket
