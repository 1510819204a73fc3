// Package counter counts bytes and items by kind and scope, exactly, and recounts
// them while they change.
package counter
