// Package git moves git repositories into bare mirrors. The first copy, and that of each
// new incarnation, is a clone in staging that is renamed into its place. Afterwards the
// mirror is updated in place: objects are fetched beside what everybody sees, and
// one ref transaction, which also deletes the claim's fence ref, publishes them. A claim
// whose fence ref is gone cannot.
//
// The git program does the work, in an environment of ours, confined to the folders that
// it needs, and told nothing that a source could make use of. ../DESIGN.md has the
// steps, and the reasons.
package git
