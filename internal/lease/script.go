package lease

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed take.lua
	takeSource string
	//go:embed release.lua
	releaseSource string

	takeScript    = redis.NewScript(takeSource)
	releaseScript = redis.NewScript(releaseSource)
)

// errAnswer says that Redis has answered what no script of this package returns.
var errAnswer = errors.New("unexpected answer of the lease's script")

// take runs the script that takes or extends the lease. It returns whether the
// lease was free before, or [*HeldError]. Any other error leaves it open whether
// the lease was taken.
func (l *Leaser) take(ctx context.Context, name string) (free bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	// Run sends the script itself when Redis has forgotten it: SCRIPT FLUSH,
	// a restart, a failover.
	answer, err := takeScript.Run(ctx, l.client, []string{key(name)}, l.id, l.ttl.Milliseconds()).Slice()
	if err != nil {
		return false, fmt.Errorf("take lease %s: %w", name, err)
	}
	if len(answer) != 3 {
		return false, fmt.Errorf("take lease %s: %w: %v", name, errAnswer, answer)
	}
	code, ok1 := answer[0].(int64)
	holder, ok2 := answer[1].(string)
	remaining, ok3 := answer[2].(int64)
	switch {
	case !ok1 || !ok2 || !ok3:
		return false, fmt.Errorf("take lease %s: %w: %v", name, errAnswer, answer)
	case code == 0:
		return false, &HeldError{Name: name, Holder: holder, ExpiresIn: time.Duration(remaining) * time.Millisecond}
	default:
		return code == 1, nil
	}
}

// release runs the script that deletes the lease. It is [ErrLost] when it was not
// this leaser's any more.
func (l *Leaser) release(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	n, err := releaseScript.Run(ctx, l.client, []string{key(name)}, l.id).Int()
	if err != nil {
		return fmt.Errorf("release lease %s: %w", name, err)
	}
	if n == 0 {
		return fmt.Errorf("release lease %s: %w", name, ErrLost)
	}
	return nil
}
