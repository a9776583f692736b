package bench

import (
	"errors"
	"testing"

	"lte/collective"
)

// broken is a group that fails.
type broken struct{ collective.Alone }

var errBroken = errors.New("no rank answers")

func (broken) Allgather(dst, src []byte) error { return errBroken }

// Fails if the rate is not plausible, from a tenth of a GB/s to ten TB/s, or the failure of a rank is ignored.
func TestMemoryRate(t *testing.T) {
	if rate, err := MemoryRate(collective.Alone{}); err != nil || rate < 1e8 || rate > 1e13 {
		t.Errorf("%v bytes/s, %v", rate, err)
	}
	if _, err := MemoryRate(broken{}); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}
