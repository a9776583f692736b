//go:build mpirun

package bench

import (
	"testing"
	"time"

	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// late is a world whose last rank enters each collective 20 ms late.
type late struct{ *mpi.World }

func (w late) lag() {
	if w.Rank() == w.Size()-1 {
		time.Sleep(20 * time.Millisecond)
	}
}

func (w late) Allgather(dst, src []byte) error {
	w.lag()
	return w.World.Allgather(dst, src)
}

func (w late) AlltoallShared(recv, send []byte) error {
	w.lag()
	return w.World.AlltoallShared(recv, send)
}

// Fails if a collective is not timed.
func TestMessages(t *testing.T) {
	mpitest.Run(t, []int{3}, func(t *testing.T, w *mpi.World) {
		m, err := RunMessages(late{w}, 1000, 5)
		if err != nil {
			t.Fatal(err)
		}
		if m.Ranks != 3 || m.NodeSize != 3 || m.Block != 1000 || m.AllgatherMS < 20 || m.AlltoallSharedMS < 20 || m.AllgatherSharedMS <= 0 {
			t.Errorf("%+v", m)
		}
	})
}
