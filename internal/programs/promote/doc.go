// The promote program rehearses the loss of a primary site, the promotion of the second one,
// and the way back.
//
//	go run ./internal/programs/promote [-duration 8s] [-seed 1] [-v]
//
// Two sites on private servers, with files that come over HTTP, and repositories. While an
// application writes files, pushes and deletes, the primary's database is killed and its
// folders are gone. The standby of its database is promoted, and then the second site: first
// dry, then in earnest. What it says would be lost is compared with what it then says was, and
// with what is there: each row of the promoted database against its bytes. The application
// goes on at the new primary, the old site comes back as the second one, and both are compared
// again; what lay there unchanged must not have been copied anew.
//
// The last line is
//
//	promote: OK
//
// and the exit status 0. Otherwise what was wrong is said before "promote: FAILED".
package main
