package counter

import (
	"math/big"
	"testing"
)

func TestTotalIsAsExactAndLiveAsAllOfIt(t *testing.T) {
	t.Parallel()
	total := Total{Size: new(big.Int), Exact: true, Live: true}
	total.add(shardSum{size: new(big.Int), exact: false}, false, 1)
	total.add(shardSum{size: new(big.Int), exact: true}, true, 1)
	if total.Exact || total.Live {
		t.Errorf("exact %t, live %t", total.Exact, total.Live)
	}
}
