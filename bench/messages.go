package bench

import (
	"slices"
	"time"

	"lte/collective"
)

// Messages is the time of the collectives of a run when all ranks enter them at once.
type Messages struct {
	Kind              string  `json:"kind"` // "messages"
	Ranks             int     `json:"ranks"`
	NodeSize          int     `json:"node_size"` // ranks on rank 0's node
	Block             int     `json:"block"`     // bytes that a rank contributes to an Allgather, or sends to each rank in an Alltoall
	AllgatherMS       float64 `json:"allgather_ms"`
	AllgatherSharedMS float64 `json:"allgather_shared_ms"` // into memory shared by the ranks of a node
	AlltoallSharedMS  float64 `json:"alltoall_shared_ms"`  // from and into such memory, writing the send buffer included
}

// RunMessages measures each collective for so many rounds, after one that is not counted; its time is the median of the slowest rank's.
func RunMessages(g collective.Group, block, rounds int) (Messages, error) {
	m := Messages{Kind: "messages", Ranks: g.Size(), NodeSize: g.NodeSize(), Block: block}
	dst, src := make([]byte, m.Ranks*block), make([]byte, m.Ranks*block)
	shared, err := g.NodeMemory(m.Ranks * block)
	if err != nil {
		return m, err
	}
	send, err := g.NodeMemory(m.NodeSize * m.Ranks * block)
	if err != nil {
		return m, err
	}
	recv, err := g.NodeMemory(len(send))
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
			copy(send[g.NodeRank()*len(src):], src)
			return g.AlltoallShared(recv, send)
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
		slices.Sort(times[1:])
		*c.ms = 1e-6 * float64(times[1+rounds/2])
	}
	return m, nil
}
