//go:build mpirun

package train

import (
	"fmt"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

var sizes = []int{1, 2, 3, 4, 8}

// law is what holds on every number of ranks. All laws share a launch.
type law struct {
	name string
	body func(t *testing.T, w *mpi.World)
}

func onRanks(t *testing.T, laws []law) {
	onSomeRanks(t, sizes, laws)
}

func onSomeRanks(t *testing.T, sizes []int, laws []law) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) {
		for _, l := range laws {
			t.Log(l.name) // the last one named is the one that failed
			l.body(t, w)
		}
	})
}

// The numbers are algorithm.md's.
func TestLaws(t *testing.T) {
	onRanks(t, []law{
		{"1: one head is plain LoRA", lawOneHead},
		{"2: heads alike", lawHeadsAlike},
		{"3: multi-head LoRA", lawMultiHead},
		{"4: full-rank update", lawFullRank},
		{"5: lockstep", lawLockstep},
		{"5: shared memory", lawSharing},
		{"5: a wrong bit is caught", lawWrongBit},
		{"6: continuity", lawContinuity},
		{"8: telescoping", lawTelescoping},
		{"momentum", lawMomentum},
	})
}

// The methods beside lte, each held against another that it is in a special case.
func TestLawsOfMethods(t *testing.T) {
	onSomeRanks(t, []int{1, 2, 3, 4}, []law{
		{"averaged gradients are large batches", largeBatches},
		{"localsgd with K = 1 is full", localSGDIsFull},
		{"diloco without its outer optimizer is localsgd", dilocoIsLocalSGD},
		{"diloco's outer step", dilocoOuterStep},
		{"sequential is lora up to a merge", sequentialIsLoRA},
		{"sequential begins anew", sequentialBeginsAnew},
		{"mhlora with one head is lora", oneOfMultiHead},
	})
}

func TestRunsOnRanks(t *testing.T) {
	onRanks(t, []law{
		{"same seed, same bits", runTwice},
		{"full is large-batch training", runFull},
		{"not a number", runNotANumber},
		{"an infinite gradient", runInfiniteGradient},
		{"traffic", runTraffic},
	})
}

// everywhere fails unless all ranks hold the same text.
func everywhere(t *testing.T, w *mpi.World, what, text string) {
	t.Helper()
	sum := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(text) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	all := make([]uint64, w.Size())
	must(t, collective.Allgather(w, all, []uint64{sum}))
	for k, s := range all {
		if s != all[0] {
			t.Fatalf("%s differs on rank %d from rank 0; here it is %s", what, k, text)
		}
	}
}

func describe(err error) string { return fmt.Sprintf("%T %v", err, err) }

// smooth makes the run a smooth function of its weights, so that a difference in rounding stays one: AdamW divides by
// gradients that may be nothing but rounding.
func smooth(c *config.Config) {
	c.Optimizer = config.Optimizer{Name: "sgd", LR: 0.1, Eps: 1e-8, Momentum: 0.9, WeightDecay: 0.01, ClipNorm: 1}
}

// weightsOf is all linear layers' W, in order.
func weightsOf(tr *Trainer) []float32 {
	var out []float32
	for _, l := range tr.model.Layers() {
		out = append(out, l.W.Data...)
	}
	return out
}
