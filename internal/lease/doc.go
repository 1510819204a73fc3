// Package lease keeps many processes from doing at once what one is enough for:
// a key in Redis names the process that does it, and for how long. It is an
// optimisation and protects nothing; what it is used for has to be right without it.
//
// DESIGN.md has the guarantee, the states and the failure story.
package lease
