// Package folder is what transfers into folders share: a folder that is held by
// handle and found again by its name, staging that fences, publication and removal
// by one rename, a walk in the order of keys.
//
// A [Root] is the folder of a source or target, whichever has the name at the time.
// Who works in it enters, and gets a [Tree]: the folder itself, below which everything
// is reached by handle and no link is followed. A run on a target begins with a
// [Stage]: the staging of its claim, out of which it publishes and into which it
// removes. Once a later claim's Begin has deleted that folder, neither can work: that is
// the fence.
//
// What is true after a crash at each step, and what each ENOENT means, is in
// ../DESIGN.md.
package folder
