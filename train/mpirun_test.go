//go:build mpirun

package train

import (
	"slices"
	"testing"

	"lte/collective/grouptest"
	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// The same laws over MPI. All share a launch.
func TestLawsOnRanks(t *testing.T) {
	mpitest.Run(t, []int{1, 2, 3, 4, 8}, func(t *testing.T, w *mpi.World) {
		for _, s := range suites {
			if slices.Contains(s.sizes, w.Size()) {
				grouptest.CheckLaws(t, w, s.laws)
			}
		}
	})
}
