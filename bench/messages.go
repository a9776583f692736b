package bench

import (
	"slices"
	"time"

	"lte/collective"
)

// Messages is what the collectives of a run take when all ranks enter them at once.
type Messages struct {
	Kind              string  `json:"kind"` // "messages"
	Ranks             int     `json:"ranks"`
	NodeSize          int     `json:"node_size"` // ranks of rank 0's node
	Block             int     `json:"block"`     // bytes: what a rank contributes to an Allgather, or sends to each rank in an Alltoall
	AllgatherMS       float64 `json:"allgather_ms"`
	AllgatherSharedMS float64 `json:"allgather_shared_ms"` // into memory that a node's ranks have in common
	AlltoallSharedMS  float64 `json:"alltoall_shared_ms"`  // from such memory, written first
}

// RunMessages times each collective so many times, after once that does not count; its time is the median of the slowest rank's.
func RunMessages(g collective.Group, block, rounds int) (Messages, error) {
	m := Messages{Kind: "messages", Ranks: g.Size(), NodeSize: g.NodeSize(), Block: block}
	dst, src := make([]byte, m.Ranks*block), make([]byte, m.Ranks*block)
	shared, err := g.NodeMemory(m.Ranks * block)
	if err != nil {
		return m, err
	}
	rows, err := g.NodeMemory(m.NodeSize * m.Ranks * block)
	if err != nil {
		return m, err
	}
	comes, err := g.NodeMemory(len(rows))
	if err != nil {
		return m, err
	}
	for _, c := range []struct {
		ms   *float64
		call func() error
	}{
		{&m.AllgatherMS, func() error { return g.Allgather(dst, src[:block]) }},
		{&m.AllgatherSharedMS, func() error { return g.AllgatherShared(shared, src[:block]) }},
		{&m.AlltoallSharedMS, func() error {
			copy(rows[g.NodeRank()*len(src):], src)
			return g.AlltoallShared(comes, rows)
		}},
	} {
		times := make([]uint64, 1+rounds) // ns
		for i := range times {
			if err := g.Barrier(); err != nil {
				return m, err
			}
			began := time.Now()
			if err := c.call(); err != nil {
				return m, err
			}
			times[i] = uint64(time.Since(began))
		}
		all := make([]uint64, m.Ranks*len(times)) // (ranks, rounds)
		if err := collective.Allgather(g, all, times); err != nil {
			return m, err
		}
		for i := range times {
			for rank := range m.Ranks {
				times[i] = max(times[i], all[rank*len(times)+i])
			}
		}
		counted := times[1:]
		slices.Sort(counted)
		*c.ms = 1e-6 * float64(counted[rounds/2])
	}
	return m, nil
}
