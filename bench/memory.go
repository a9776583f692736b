package bench

import (
	"time"

	"lte/collective"
)

// MemoryRate is the bytes a second that a copy of what no cache holds reads and writes on one rank, while all ranks of the group
// copy: the slowest's.
func MemoryRate(g collective.Group) (float64, error) {
	const (
		length = 32 << 20 // bytes
		rounds = 5
	)
	from, to := make([]byte, length), make([]byte, length)
	copy(to, from) // memory is there once it was written
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
	all := make([]uint64, g.Size())
	mine := []uint64{uint64(1e9 * median(times))}
	if err := collective.Allgather(g, all, mine); err != nil {
		return 0, err
	}
	slowest := uint64(1)
	for _, ns := range all {
		slowest = max(slowest, ns)
	}
	return 2 * length / (1e-9 * float64(slowest)), nil
}
