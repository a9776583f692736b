//go:build mpirun

package collective_test

import (
	"testing"
	"time"

	"lte/collective"
	"lte/mpi"
	"lte/mpi/mpitest"
)

// Real ranks on real clocks. Fails if they do not agree on when to stop, which leaves one waiting, or have different figures.
func TestMeasureOnRanks(t *testing.T) {
	mpitest.Run(t, []int{1, 2, 4}, func(t *testing.T, w *mpi.World) {
		began := time.Now()
		n, err := collective.Measure(w)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		t.Logf("%+v in %v", n, took)
		if w.Size() > 1 && (n.Latency <= 0 || n.Allgather <= 0 || n.Alltoall <= 0) {
			t.Errorf("%+v", n)
		}
		if took > 5*time.Second { // tests share the cores with others
			t.Errorf("took %v", took)
		}
		figures := []float64{n.Latency, n.Allgather, n.Alltoall}
		if err := collective.Sum(w, figures); err != nil {
			t.Fatal(err)
		}
		for i, mine := range []float64{n.Latency, n.Allgather, n.Alltoall} {
			sum := 0.0
			for range w.Size() {
				sum += mine
			}
			if figures[i] != sum {
				t.Errorf("rank %d has other figures than the rest", w.Rank())
			}
		}
	})
}
