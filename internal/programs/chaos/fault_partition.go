package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"casq/internal/pause"
)

// partition is one of artifacts.
type partition struct{ name, bounds, folder string }

var partitions = []partition{
	{"artifacts_groups", "FROM ('groups') TO ('projects')", "groups/"},
	{"artifacts_projects", "FROM ('projects') TO ('singles')", "projects/"},
}

// detachPartition takes a partition away with its rows and brings it back. For the
// log they are deleted and created again. The application leaves them alone
// meanwhile: it would find no place for them. Nothing happens to the servers until
// the standby has it, too: one that was promoted without would never be mended.
func detachPartition(r *rand.Rand, _ config) injection {
	p, d := partitions[r.IntN(len(partitions))], between(r, 0, 3*time.Second)
	return injection{
		what:  fmt.Sprintf("detach partition %s, attach it again after %s", p.name, d),
		needs: []string{resourceTables, resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			var units []string
			for _, path := range allFiles() {
				if strings.HasPrefix(path, p.folder) {
					units = append(units, unit(path))
				}
			}
			defer c.writer.units.hold(units...)()
			if err := c.insist(ctx, "ALTER TABLE artifacts DETACH PARTITION "+p.name); err != nil {
				return err
			}
			if err := pause.For(ctx, d); err != nil {
				return err
			}
			if err := c.insist(ctx, fmt.Sprintf("ALTER TABLE artifacts ATTACH PARTITION %s FOR VALUES %s", p.name, p.bounds)); err != nil {
				return err
			}
			return c.site.standby().WaitReplayed(ctx, c.site.source.Primary)
		},
	}
}
