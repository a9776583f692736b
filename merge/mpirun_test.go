//go:build mpirun

package merge_test

import (
	"testing"

	"lte/collective/grouptest"
	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// The same laws on real ranks: fails if the MPI library moves values otherwise than goroutines do.
func TestLawsOnRanks(t *testing.T) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) { grouptest.CheckLaws(t, w, laws) })
}
