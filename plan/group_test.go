package plan

import "lte/collective"

// mirror is one rank of a group whose other ranks all send what it sends: a run of many ranks in one process, as one rank sees it.
type mirror struct {
	collective.Alone
	size int
}

func (m mirror) Size() int                               { return m.size }
func (m mirror) AlltoallShared(comes, rows []byte) error { return m.Alltoall(comes, rows) }
func (m mirror) AllgatherShared(dst, src []byte) error   { return m.Allgather(dst, src) }

func (m mirror) Allgather(dst, src []byte) error {
	for k := range m.size {
		copy(dst[k*len(src):], src)
	}
	return nil
}

func (m mirror) Alltoall(dst, src []byte) error { return m.Allgather(dst, src[:len(src)/m.size]) }
