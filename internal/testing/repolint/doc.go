// Package repolint holds the rules that this repository keeps and that no linter
// knows: which package may import which, where the environment is read, that
// docs/configuration.md's table of variables is true, that every race has its test.
//
// A rule is a function from a tree of files to the problems in it, and to the
// number of places it checked. Each is applied to this repository, where it
// must find nothing and must have checked something, and to a small tree that
// breaks it, where it must find exactly what is wrong.
//
// The package has no code outside its tests.
package repolint
