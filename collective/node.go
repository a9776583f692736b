package collective

import "fmt"

// Memory is n numbers, 0 at first, which the ranks of a node have in common. All ranks of the group call it; an error is all ranks'.
func Memory(g Group, n int) ([]float32, error) {
	bytes, err := byteMemory(g, 4*n)
	return numbers(bytes), err
}

// byteMemory is Memory of n bytes.
func byteMemory(g Group, n int) ([]byte, error) {
	bytes, err := g.NodeMemory(n)
	if err != nil {
		return nil, fmt.Errorf("%w; set exchange.share_memory = false to have a copy of its own for every rank", err)
	}
	return bytes, nil
}

// Part is what of n things this rank does for its node.
func Part(g Group, n int) (from, to int) {
	s := share(n, g.NodeRank(), g.NodeSize())
	return s.from, s.to
}

// Apart is the group as if no two of its ranks shared memory.
func Apart(g Group) Group {
	if g.Size() == 1 {
		return g
	}
	return separate{g}
}

type separate struct{ Group }

func (separate) NodeRank() int                             { return 0 }
func (separate) NodeSize() int                             { return 1 }
func (separate) NodeBarrier() error                        { return nil }
func (separate) NodeMemory(bytes int) ([]byte, error)      { return make([]byte, bytes), nil }
func (g separate) AllgatherShared(dst, src []byte) error   { return g.Allgather(dst, src) }
func (g separate) AlltoallShared(comes, rows []byte) error { return g.Alltoall(comes, rows) }
