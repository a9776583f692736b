package collective

import "fmt"

// Memory allocates n elements, 0 at first, which the ranks of a node share. All ranks of the group call it; an error is all ranks'.
func Memory(g Group, n int) ([]float32, error) {
	bytes, err := ByteMemory(g, 4*n)
	return Floats(bytes), err
}

// ByteMemory is Memory of n bytes.
func ByteMemory(g Group, n int) ([]byte, error) {
	bytes, err := g.NodeMemory(n)
	if err != nil {
		return nil, fmt.Errorf("%w; set exchange.share_memory = false so that every rank has a copy of its own", err)
	}
	return bytes, nil
}

// WithoutSharedMemory is the group as if no two of its ranks shared memory.
func WithoutSharedMemory(g Group) Group {
	if g.Size() == 1 {
		return g
	}
	return separate{g}
}

type separate struct{ Group }

func (separate) NodeRank() int                            { return 0 }
func (separate) NodeSize() int                            { return 1 }
func (separate) NodeBarrier() error                       { return nil }
func (separate) NodeMemory(bytes int) ([]byte, error)     { return make([]byte, bytes), nil }
func (g separate) AllgatherShared(dst, src []byte) error  { return g.Allgather(dst, src) }
func (g separate) AlltoallShared(recv, send []byte) error { return g.Alltoall(recv, send) }
