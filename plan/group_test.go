package plan

// mirror is one rank of a group whose other ranks all send what it sends: a run of many ranks in one process, as one rank sees it.
type mirror struct{ size int }

func (mirror) Rank() int      { return 0 }
func (m mirror) Size() int    { return m.size }
func (mirror) Barrier() error { return nil }
func (mirror) Patient() error { return nil }

func (m mirror) Allgather(dst, src []byte) error {
	for k := range m.size {
		copy(dst[k*len(src):], src)
	}
	return nil
}

func (m mirror) Alltoall(dst, src []byte) error { return m.Allgather(dst, src[:len(src)/m.size]) }
