package train

import (
	"lte/collective"
	"lte/model"
)

// lockstepChecker verifies that all ranks hold the same bits of every parameter (law 5). Ranks may differ where their CPUs round
// differently, or a memory fails.
type lockstepChecker struct {
	group   collective.Group
	names   []string
	values  [][]float32
	digests []uint64
}

func newLockstepChecker(g collective.Group, m *model.Model) *lockstepChecker {
	c := &lockstepChecker{group: g}
	for _, p := range m.Parameters() {
		c.names, c.values = append(c.names, p.Name), append(c.values, p.Value)
	}
	c.digests = make([]uint64, len(c.values))
	return c
}

// check returns the same *collective.LockstepError on all ranks if one differs from rank 0.
func (c *lockstepChecker) check() error {
	for i, x := range c.values {
		c.digests[i] = collective.Digest(x)
	}
	return collective.CheckLockstep(c.group, c.names, c.digests)
}
