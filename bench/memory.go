package bench

import (
	"slices"
	"time"

	"lte/collective"
)

// MemoryRate is the bytes per second that the slowest rank reads and writes in copying a buffer too large for the caches, while all ranks
// of the group do the same.
func MemoryRate(g collective.Group) (float64, error) {
	const (
		length = 32 << 20 // bytes
		rounds = 5
	)
	from, to := make([]byte, length), make([]byte, length)
	copy(to, from) // memory is mapped when it is first written
	copy(from, to)
	if err := g.Barrier(); err != nil {
		return 0, err
	}
	var times []float64
	for range rounds {
		began := time.Now()
		copy(to, from)
		times = append(times, time.Since(began).Seconds())
	}
	all, err := collective.Numbers(g, max(1, uint64(1e9*median(times)))) // ns
	if err != nil {
		return 0, err
	}
	return 2 * length / (1e-9 * float64(slices.Max(all))), nil
}
