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
}

// member is one of the gang.
type member struct {
	*gang
	rank int
	fail error // what every collective returns at once, if set
}

var errLeft = errors.New("a rank has left")

// inGang runs body on size goroutines, each one rank. A rank that fails does not leave the others waiting.
func inGang(t *testing.T, size int, body func(g collective.Group) error) {
	t.Helper()
	group := &gang{size: size, parts: make([][]byte, size)}
	group.turn.L = &group.mu
	var wait sync.WaitGroup
	for rank := range size {
		wait.Go(func() {
			defer group.leave()
			if err := body(&member{gang: group, rank: rank}); err != nil {
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
