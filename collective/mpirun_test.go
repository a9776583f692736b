//go:build mpirun

package collective_test

import (
	"testing"

	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// Law 5 and the rest on real ranks: fails if the MPI library moves numbers otherwise than the gangs of goroutines do.
func TestLawsOnRanks(t *testing.T) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) {
		for _, law := range laws {
			if err := law.body(w); err != nil {
				t.Fatalf("%s: %v", law.name, err)
			}
		}
	})
}
