package train

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lte/collective"
	"lte/config"
	"lte/merge"
)

func overlapping(heads int) config.Config {
	c := tinyConfig("lte")
	c.Exchange.Overlap, c.LoRA.Heads, c.Train.Steps = true, heads, 12
	return c
}

// Fails if W is of other factors than those of one interval ago, if a head's A', B' are others than those in W or what it
// has learned since is lost, if the last merge leaves anything in the air, and if losses are of other intervals.
func oneIntervalLate(t *testing.T, w collective.Group) {
	for _, heads := range []int{w.Size(), 2 * w.Size()} {
		tr := newTrainer(t, overlapping(heads), w, tinySet(300))
		m := tr.algorithm.(*lte)
		f := tr.newFeed()
		defer f.Close()
		tr.feed = f
		start := linear(tr)
		var sent []float32 // by this rank, at the merge before
		var have []float64 // of all heads then
		var losses []float64
		for merge := range 4 {
			status, err := tr.localSteps(3)
			must(t, err)
			all, mine := gathered(t, w, m.values), slices.Clone(m.values)
			mean := []float64{status.Loss}
			must(t, collective.Sum(w, mean))
			losses = append(losses, mean[0]/float64(w.Size()))
			e, err := m.merge(tr.step, 3, status)
			must(t, err)
			bits(t, "what heads train", m.values, mine)
			switch merge {
			case 0:
				near(t, "W before anything has arrived", linear(tr), start, 0)
				if e.steps != 0 {
					t.Fatalf("%d steps merged by the first merge", e.steps)
				}
			case 3:
				near(t, "loss of the last two intervals", []float64{e.loss, float64(e.steps)}, []float64{(losses[2] + losses[3]) / 2, 6}, 1e-6)
				sent, have = mine, all
			default:
				near(t, "loss of the interval before", []float64{e.loss, float64(e.steps)}, []float64{losses[merge-1], 3}, 1e-6)
			}
			if merge > 0 {
				lawSeven(t, fmt.Sprintf("merge %d: ", merge), m, start, linear(tr), have, make([]float64, len(have)))
				length := m.layout.Length
				for i, worker := range m.heads.workers {
					bits(t, "A', B'", worker.heads[0].Merged, sent[i*length:(i+1)*length])
				}
			}
			sent, have = mine, all
			m.loadMerged()
			everywhere(t, w, "W", tr.digest())
		}
		if far(linear(tr), start, 0.01) == nil {
			t.Fatal("W has hardly moved")
		}
		if m.merger.Pending() || m.merger.Merges() != 4 {
			t.Fatalf("%d merges, one pending: %v", m.merger.Merges(), m.merger.Pending())
		}
	}
}

// Fails if a merge, late or not, moves what a single head computes with: W − sB'A' + sBA is W⁰ + sBA.
func overlapOfOne(t *testing.T, w collective.Group) {
	if w.Size() > 1 {
		return
	}
	var weights [2][]float32
	for i, overlap := range []bool{false, true} {
		c := overlapping(1)
		c.Exchange.Overlap = overlap
		smooth(&c)
		tr := newTrainer(t, c, w, tinySet(300))
		_, err := tr.Run(nil)
		must(t, err)
		weights[i] = weightsOf(tr)
	}
	near(t, "W", weights[1], weights[0], 1e-5)
}

// gated is a group whose allgathers wait to be let go.
type gated struct {
	collective.Group
	gate chan struct{}
}

func (g gated) AllgatherShared(dst, src []byte) error {
	<-g.gate
	return g.Group.AllgatherShared(dst, src)
}

// Fails if a merge waits for its own exchange, or the next interval does.
func trainsMeanwhile(t *testing.T, w collective.Group) {
	gate := make(chan struct{})
	tr := newTrainer(t, overlapping(w.Size()), gated{w, gate}, tinySet(300))
	m := tr.algorithm.(*lte)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	late := time.AfterFunc(10*time.Second, func() { close(gate) }) // no rank is left hanging
	status, err := tr.localSteps(3)
	must(t, err)
	_, err = m.merge(tr.step, 3, status)
	must(t, err)
	before := slices.Clone(m.values)
	status, err = tr.localSteps(3)
	must(t, err)
	if !late.Stop() {
		t.Fatal("the exchange was waited for")
	}
	if slices.Equal(m.values, before) {
		t.Fatal("the interval trained nothing")
	}
	close(gate)
	e, err := m.merge(tr.step, 3, status)
	must(t, err)
	if e.steps != 3 {
		t.Fatalf("%d steps merged, want 3", e.steps)
	}
	m.loadMerged()
}

// Fails if a rank whose loss is not finite is not named by all ranks, one merge later, with its step and W as it was.
func overlapNotANumber(t *testing.T, w collective.Group) {
	tr := newTrainer(t, overlapping(w.Size()), w, tinySet(300))
	last := w.Size() - 1
	before := linear(tr)
	status := merge.Status{Loss: 1}
	if w.Rank() == last {
		status.Failed = 2
	}
	_, err := tr.algorithm.merge(3, 3, status)
	must(t, err)
	_, err = tr.algorithm.merge(6, 3, merge.Status{Loss: 1})
	want := fmt.Sprint(&NonFiniteError{Step: 2, Ranks: []int{last}, Loss: 1})
	if err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	near(t, "W", linear(tr), before, 0)
}
