package collective

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
