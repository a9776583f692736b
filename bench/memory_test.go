package bench

import (
	"errors"
	"testing"

	"lte/collective"
)

// deaf is a group that fails.
type deaf struct{ collective.Alone }

var errDeaf = errors.New("nobody answers")

func (deaf) Allgather(dst, src []byte) error { return errDeaf }

// Fails if the rate is not one that a memory can have, from a tenth of a GB/s to ten TB/s, or a lost rank goes unseen.
func TestMemoryRate(t *testing.T) {
	if rate, err := MemoryRate(collective.Alone{}); err != nil || rate < 1e8 || rate > 1e13 {
		t.Errorf("%v bytes/s, %v", rate, err)
	}
	if _, err := MemoryRate(deaf{}); !errors.Is(err, errDeaf) {
		t.Error(err)
	}
}
