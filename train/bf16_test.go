package train

import (
	"math"
	"testing"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/record"
)

// The built-in job in bf16 learns what it learns in float32: the loss over steps 281 to 300, and the test loss, within
// 1 %. Fails when anything that adds up over steps (factors, moments, W) is kept in bf16.
func TestBF16LearnsAlike(t *testing.T) {
	set, err := data.Open(data.Source{}, 0)
	must(t, err)
	run := func(d compute.DType) record.Summary {
		be, err := compute.New("onednn", 1, d)
		if err != nil {
			t.Skip(err)
		}
		c, err := config.LoadRecipe("paper", "", nil)
		must(t, err)
		c.Train.Steps, c.Run.EvalEvery = 300, 0
		c.Resolve(1)
		tr, err := New(c, collective.Alone{}, set, be)
		must(t, err)
		s, err := tr.Run(new(observed))
		must(t, err)
		return s
	}
	half, single := run(compute.BFloat16), run(compute.Float32)
	t.Logf("loss %.4f in bf16, %.4f in float32; test loss %.4f and %.4f", half.TrainLoss, single.TrainLoss, half.TestLoss, single.TestLoss)
	if half.TrainLoss == single.TrainLoss {
		t.Error("nothing was rounded")
	}
	for _, x := range [][2]float64{{half.TrainLoss, single.TrainLoss}, {half.TestLoss, single.TestLoss}} {
		if math.Abs(x[0]-x[1]) > 0.01*x[1] {
			t.Errorf("loss %v in bf16, %v in float32", x[0], x[1])
		}
	}
}
