//go:build mpirun

package plan

import (
	"testing"

	"lte/compute"
	"lte/mpi"
	"lte/mpi/mpitest"
	"lte/train"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// The law of bytes on real ranks, where no rank sends what another does. Fails if a run sends other than what is planned.
func TestBytesOnRanks(t *testing.T) {
	mpitest.Run(t, []int{2, 3, 4}, func(t *testing.T, w *mpi.World) {
		be, err := compute.New("gonum", 1, compute.Float32)
		must(t, err)
		for _, method := range []string{"lte", "full", "localsgd", "diloco"} {
			c := small(method)
			o := office(t, c)
			o.Cluster.Ranks = w.Size()
			p := predict(t, o, method)
			must(t, c.Resolve(w.Size()))
			tr, err := train.New(c, w, o.Set, be)
			must(t, err)
			s, err := tr.Run(nil)
			must(t, err)
			if got := s.Traffic; float64(got.Merge.Sent) != 2*p.MergeBytes || float64(got.Gradients.Sent) != 2*p.GradientBytes ||
				float64(got.Control.Sent) != 2*p.ControlBytes {
				t.Errorf("%s: %+v sent, planned twice %+v", method, got, p)
			}
		}
	})
}
