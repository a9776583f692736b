//go:build mpirun

package train

import (
	"fmt"
	"path/filepath"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/mpi"
	"lte/mpi/mpitest"
)

// A run of four heads continues with another number of ranks, in the middle of an interval and at a merge, as the one that was not
// interrupted: from all ranks to one, and from one to all. Where ranks round alike, to the bit.
//
// Fails with a loss of the interval that is one rank's alone, and by what is under way forgetting its loss.
func TestResumeOnOtherRanks(t *testing.T) {
	mpitest.Run(t, []int{2, 4}, func(t *testing.T, w *mpi.World) {
		dir := commonDir(t, w)
		for i, run := range elasticRuns {
			otherRanks(t, w, filepath.Join(dir, fmt.Sprint(i)), run.name, run.same, elasticConfig(run.same, run.set))
		}
		for _, method := range []string{"full", "lora", "mhlora", "sequential"} {
			c := tinyConfig(method)
			smooth(&c)
			if c.Train.Steps = 14; method == "mhlora" {
				c.LoRA.Heads = 3
			}
			otherRanks(t, w, filepath.Join(dir, method), method, false, c)
		}
	})
}

func otherRanks(t *testing.T, w collective.Group, dir, name string, same bool, c config.Config) {
	batch := func(c config.Config, ranks int) config.Config { // as many images a step
		if c.Method != "lte" {
			c.Train.Batch = 4 * w.Size() / ranks
		}
		return c
	}
	want := newTrainer(t, batch(c, w.Size()), w, tinySet(30))
	told := &observed{}
	_, err := want.Run(told)
	must(t, err)
	for _, stop := range []int{4, 6} {
		what := fmt.Sprintf("%s, stopped after %d, ", name, stop)
		compare := func(what string, tr *Trainer) {
			o := &observed{}
			_, err := tr.Run(o)
			must(t, err)
			if same && tr.digest() != want.digest() {
				t.Fatalf("%sdigest %s, want %s", what, tr.digest(), want.digest())
			}
			near(t, what+"W", weightsOf(tr), weightsOf(want), 1e-4)
			got, last := o.records[len(o.records)-1], told.records[len(told.records)-1]
			near(t, what+"losses", []float64{got.TrainLoss, *got.TestLoss}, []float64{last.TrainLoss, *last.TestLoss}, 1e-4)
			if next := told.records[len(told.records)-len(o.records)]; o.records[0].Images != next.Images {
				t.Fatalf("%s%d images, want %d", what, o.records[0].Images, next.Images)
			} else {
				near(t, what+"loss of the interval", []float64{o.records[0].TrainLoss}, []float64{next.TrainLoss}, 1e-4)
			}
		}
		resume := func(g collective.Group, from Saved, was *Trainer) *Trainer {
			tr, err := Resume(batch(was.config, g.Size()), g, was.set, was.backend, from)
			must(t, err)
			return tr
		}
		was, from := until(t, batch(c, w.Size()), w, filepath.Join(dir, fmt.Sprint("all ", stop)), stop)
		if w.Rank() == 0 {
			compare(what+"on one rank: ", resume(collective.Alone{}, from, was))
		}
		must(t, w.Barrier())
		one := filepath.Join(dir, fmt.Sprint("one ", stop))
		if w.Rank() == 0 {
			until(t, batch(c, 1), collective.Alone{}, one, stop)
		}
		must(t, w.Barrier())
		compare(what+"on all ranks: ", resume(w, newest(t, one, w), was))
	}
}
