package grouptest

import "lte/collective"

// Mirror is rank 0 of a group whose other ranks all send what it sends: a run of many ranks in one process, as one rank sees it.
type Mirror struct {
	collective.Alone
	Ranks int
}

// Size is the number of ranks.
func (m Mirror) Size() int { return m.Ranks }

// Allgather repeats src.
func (m Mirror) Allgather(dst, src []byte) error {
	for k := range m.Ranks {
		copy(dst[k*len(src):], src)
	}
	return nil
}

// Alltoall repeats the block for rank 0.
func (m Mirror) Alltoall(dst, src []byte) error { return m.Allgather(dst, src[:len(src)/m.Ranks]) }

// AllgatherShared is Allgather.
func (m Mirror) AllgatherShared(dst, src []byte) error { return m.Allgather(dst, src) }

// AlltoallShared is Alltoall.
func (m Mirror) AlltoallShared(recv, send []byte) error { return m.Alltoall(recv, send) }
