package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxKey = 1024 // bytes of a key
	// staging is the folder that a target keeps for itself.
	staging = ".casq"
	// targetMark is the file in it by which a target is known again.
	targetMark = "target"
)

// ofBuilds are the names of what builds leave, at the top of the primary site's folder.
var ofBuilds = []string{".staging", "builds"}

// badKey says why a path cannot be the key of a resource; "" if it can.
func badKey(path string) string {
	first, _, _ := strings.Cut(path, "/")
	switch {
	case !utf8.ValidString(path):
		return "name is not UTF-8"
	case strings.ContainsFunc(path, isControl):
		return "name has a control character"
	case len(path) > maxKey:
		return "path is longer than 1024 bytes"
	case strings.EqualFold(first, staging):
		return "lies in " + staging + ", which is kept for staging"
	case slices.ContainsFunc(ofBuilds, func(name string) bool { return strings.EqualFold(first, name) }):
		return "has a name that is kept for what builds leave"
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }

// project returns the top-level folder of a path, "." for a file at the top.
func project(path string) string {
	top, _, below := strings.Cut(path, "/")
	if !below {
		return "."
	}
	return top
}
