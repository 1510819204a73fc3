package runner

import "context"

// Tidy does at once what is done again and again.
func (c *Coordinator) Tidy(ctx context.Context) error { return c.tidyOnce(ctx) }

// Expiry is expiry.
var Expiry = expiry

// The statements by which builds are picked, and what goes before each.
var (
	ByIndex = pickSQL.ByIndex
	Picks   = []string{pickSQL.Pick, pickOfMore}
	// PicksTogether are those for several requests at once.
	PicksTogether = []string{pickSQL.PickTogether, pickTogetherOfMore}
	Waits         = pickSQL.Waits
	// GiveBack is of an attempt by its build and its token's hash.
	GiveBack = pickSQL.GiveBack
)
