package train

import (
	"fmt"
	"slices"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/config"
)

// suite is laws that hold on some numbers of ranks. The numbers in their names are docs/algorithm.md's.
type suite struct {
	name  string
	sizes []int
	laws  []grouptest.Law
}

var suites = []suite{
	{"LTE", []int{1, 2, 3, 4, 8}, []grouptest.Law{
		{Name: "1: one head is plain LoRA", Body: lawOneHead},
		{Name: "2: heads alike", Body: lawHeadsAlike},
		{Name: "3: multi-head LoRA", Body: lawMultiHead},
		{Name: "4: full-rank update", Body: lawFullRank},
		{Name: "5: lockstep", Body: lawLockstep},
		{Name: "5: shared memory", Body: lawSharing},
		{Name: "5: a wrong bit is caught", Body: lawWrongBit},
		{Name: "6: continuity", Body: lawContinuity},
		{Name: "8: telescoping", Body: lawTelescoping},
		{Name: "momentum", Body: lawMomentum},
	}},
	{"transports", []int{1, 2, 3, 4, 8}, []grouptest.Law{
		{Name: "5 and 7: W is independent of the transport", Body: lawTransports},
		{Name: "ranks agree on the transport and report it", Body: choiceIsTold},
	}},
	{"wire formats", []int{1, 2, 4, 8}, []grouptest.Law{
		{Name: "5 and 7: the estimates are what is merged", Body: lawWires},
		{Name: "7: zstd changes no bit", Body: lawZstd},
	}},
	{"overlap", []int{1, 2, 3, 4, 8}, []grouptest.Law{
		{Name: "W is one interval late", Body: oneIntervalLate},
		{Name: "one head learns as if it were not merged", Body: overlapOfOne},
		{Name: "a shared basis begins with the mean", Body: sharedBasis},
		{Name: "an interval trains while an exchange is pending", Body: trainsMeanwhile},
		{Name: "not a number", Body: overlapNotANumber},
	}},
	{"baselines", []int{1, 2, 3, 4}, []grouptest.Law{
		{Name: "averaged gradients are large batches", Body: largeBatches},
		{Name: "localsgd with K = 1 is full", Body: localSGDIsFull},
		{Name: "diloco without its outer optimizer is localsgd", Body: dilocoIsLocalSGD},
		{Name: "diloco's outer step", Body: dilocoOuterStep},
		{Name: "sequential is lora up to a merge", Body: sequentialIsLoRA},
		{Name: "sequential resets its head", Body: sequentialResetsItsHead},
		{Name: "mhlora with one head is lora", Body: oneOfMultiHead},
	}},
	{"options", []int{1, 2, 4, 8}, []grouptest.Law{
		{Name: "eight heads on any number of ranks", Body: eightHeads},
		{Name: "eight heads that share passes", Body: eightHeadsTogether},
		{Name: "replicas of every step", Body: replicasEveryStep},
	}},
	{"runs", []int{1, 2, 3, 4, 8}, []grouptest.Law{
		{Name: "same seed, same bits", Body: runTwice},
		{Name: "full is large-batch training", Body: runFull},
		{Name: "not a number", Body: runNotANumber},
		{Name: "an infinite gradient", Body: runInfiniteGradient},
		{Name: "traffic", Body: runTraffic},
	}},
}

// Every law in groups of up to three goroutines.
func TestLaws(t *testing.T) {
	for _, s := range suites {
		small := slices.DeleteFunc(slices.Clone(s.sizes), func(size int) bool { return size > 3 })
		t.Run(s.name, func(t *testing.T) { grouptest.RunLaws(t, small, s.laws) })
	}
}

// everywhere fails unless all ranks hold the same text.
func everywhere(t *testing.T, w collective.Group, what, text string) {
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
		out = append(out, l.W.Float32()...)
	}
	return out
}
