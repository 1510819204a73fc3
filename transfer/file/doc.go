// Package file moves files into a folder: bytes and attributes are copied to staging,
// and published by one rename. Its own source is a folder; any other
// [transfer.Source] will do.
//
// The guarantee is that of package transfer.
package file
