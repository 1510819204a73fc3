// Package promote makes a second site the primary one: what is still to be applied of the
// log is applied, what would be lost is told by name beforehand, what is in place is read, the
// mirrors become repositories that an application works on, and casq gives the targets up.
//
// The application's database is not casq's: its standby is promoted by its operator, before.
// Its log is the one that this site follows.
//
//	look ──► apply ──► look ──► verify ──► give up ──► release ──► done
//	                    │          │      the targets   mirrors
//	                    └── what would be lost: the end, unless it is accepted
//
// Up to "give up" nothing has happened: the site is a second one, whose workers may go on.
// There the marks of its targets go, one rename each: from then on no run of any process
// publishes, one that was frozen included, and no worker takes them for its targets. What
// was lost is written into the target with it, so that a promotion that was killed afterwards
// goes on from there, and tells the same. Each step may be done again.
//
// A resource is lost when its newest state, as the log has it, is not in place here: its
// event is not applied, or was dead-lettered, its copy is to be made, or has failed, or
// its bytes are not those that were copied. An older state may be in place. What the source
// may lack (absent) is told, and not lost.
package promote
