package runner

import "context"

// Tidy does at once what is done again and again.
func (c *Coordinator) Tidy(ctx context.Context) error { return c.tidyOnce(ctx) }

// Expiry is expiry.
var Expiry = expiry
