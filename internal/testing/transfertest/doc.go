// Package transfertest is what the tests of transfers share: whole runs, child
// processes that are frozen or killed in the middle of one, repositories to move, and
// what a target has to look like afterwards. It knows package transfer, and no kind.
package transfertest
