package promote

import (
	"context"
	"maps"
	"slices"

	"casq/eventlog"
)

// Layout is where the resources of a kind are at this site, and where they were at the one
// that it has followed: below the target, and below the source.
type Layout struct {
	Kind     string `json:"kind"`
	Transfer string `json:"transfer"`
	Here     string `json:"here"`
	There    string `json:"there"`
}

// layout notes where keys lie.
func (p *promotion) layout(ctx context.Context, result *Result) error {
	kinds, err := eventlog.Kinds(ctx, p.home)
	if err != nil {
		return err
	}
	result.Kinds = []Layout{}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if k := kinds[name]; p.targets[k.Transfer] != nil {
			result.Kinds = append(result.Kinds, Layout{name, k.Transfer, k.Prefix, k.SourcePrefix})
		}
	}
	return nil
}
