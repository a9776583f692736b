package collective_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"lte/collective"
)

// gang is a group of goroutines, for tests without a launcher.
type gang struct {
	mu      sync.Mutex
	turn    sync.Cond
	size    int
	arrived int // at the present barrier
	round   int // barriers passed
	left    bool
	parts   [][]byte // what each rank sends
	nodes   []*gang  // of ranks that share memory
	perNode int
}

// member is one of the gang.
type member struct {
	*gang
	rank int
	room []byte
	fail error // what every collective returns at once, if set
}

var errLeft = errors.New("a rank has left")

func newGang(size int) *gang {
	g := &gang{size: size, parts: make([][]byte, size)}
	g.turn.L = &g.mu
	return g
}

// inGang runs body on size goroutines, each one rank, two of them a node and on the last what is left. A rank that fails does not
// leave the others waiting.
func inGang(t *testing.T, size int, body func(g collective.Group) error) {
	t.Helper()
	group := newGang(size)
	group.perNode = 2
	for first := 0; first < size; first += group.perNode {
		group.nodes = append(group.nodes, newGang(min(group.perNode, size-first)))
	}
	var wait sync.WaitGroup
	for rank := range size {
		wait.Go(func() {
			m := &member{gang: group, rank: rank}
			defer group.leave()
			defer m.node().leave()
			if err := body(m); err != nil {
				t.Errorf("rank %d/%d: %v", rank, size, err)
			}
		})
	}
	wait.Wait()
}

func (g *gang) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = true
	g.turn.Broadcast()
}

func (g *gang) meet() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	round := g.round
	if g.arrived++; g.arrived == g.size {
		g.arrived = 0
		g.round++
		g.turn.Broadcast()
		return nil
	}
	for g.round == round {
		if g.left {
			return errLeft
		}
		g.turn.Wait()
	}
	return nil
}

func (m *member) Rank() int { return m.rank }
func (m *member) Size() int { return m.size }

func (m *member) Patient() error { return nil }

func (m *member) node() *gang        { return m.nodes[m.rank/m.perNode] }
func (m *member) NodeRank() int      { return m.rank % m.perNode }
func (m *member) NodeSize() int      { return m.node().size }
func (m *member) NodeBarrier() error { return m.node().meet() }

func (m *member) NodeMemory(bytes int) ([]byte, error) {
	if m.NodeRank() == 0 {
		m.node().parts[0] = make([]byte, bytes)
	}
	if err := m.NodeBarrier(); err != nil {
		return nil, err
	}
	memory := m.node().parts[0]
	return memory, m.NodeBarrier()
}

func (m *member) AllgatherShared(dst, src []byte) error {
	if m.fail != nil {
		return m.fail
	}
	if err := m.NodeBarrier(); err != nil {
		return err
	}
	if len(m.room) < len(dst) {
		m.room = make([]byte, len(dst))
	}
	if err := m.Allgather(m.room[:len(dst)], src); err != nil {
		return err
	}
	if m.NodeRank() == 0 {
		copy(dst, m.room)
	}
	return m.NodeBarrier()
}

func (m *member) AlltoallShared(comes, rows []byte) error {
	if m.fail != nil {
		return m.fail
	}
	row := len(rows) / m.NodeSize()
	if len(m.room) < row {
		m.room = make([]byte, row)
	}
	came := m.room[:row]
	if err := m.Alltoall(came, rows[m.NodeRank()*row:][:row]); err != nil {
		return err
	}
	for k, n := 0, row/m.size; k < m.size && m.size > m.NodeSize(); k++ {
		if k/m.perNode != m.rank/m.perNode {
			copy(comes[(k*m.NodeSize()+m.NodeRank())*n:], came[k*n:(k+1)*n])
		}
	}
	return m.NodeBarrier()
}

func (m *member) Barrier() error {
	if m.fail != nil {
		return m.fail
	}
	return m.meet()
}

func (m *member) Allgather(dst, src []byte) error {
	return m.swap(dst, src, func(from []byte) []byte { return from })
}

func (m *member) Alltoall(dst, src []byte) error {
	if len(src)%m.size != 0 {
		return fmt.Errorf("%d bytes for %d ranks", len(src), m.size)
	}
	n := len(src) / m.size
	return m.swap(dst, src, func(from []byte) []byte { return from[m.rank*n : (m.rank+1)*n] })
}

// swap puts into dst what part chooses of every rank's src.
func (m *member) swap(dst, src []byte, part func([]byte) []byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.parts[m.rank] = src
	if err := m.meet(); err != nil {
		return err
	}
	if n := len(part(src)); len(dst) != n*m.size {
		return fmt.Errorf("dst has %d bytes for %d of %d", len(dst), m.size, n)
	}
	for k, from := range m.parts {
		n := len(part(from))
		copy(dst[k*n:(k+1)*n], part(from))
	}
	return m.meet()
}

// newExchange is collective.NewExchange where there is memory.
func newExchange(g collective.Group, layers []collective.Factor, length, own int, w collective.Wire) *collective.Exchange {
	return had(collective.NewExchange(g, layers, length, own, w))
}

// newUpdate is collective.NewUpdate where there is memory.
func newUpdate(g collective.Group, layers []collective.Factor, length, own int, w collective.Wire, transports []collective.Transport, multiply collective.Product) *collective.Update {
	return had(collective.NewUpdate(g, layers, length, own, w, transports, multiply))
}

func had[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// newMean is collective.NewMean where there is memory.
func newMean(g collective.Group, length int) *collective.Mean {
	return had(collective.NewMean(g, length))
}
