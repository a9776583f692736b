package bench

import (
	"math"
	"testing"

	"lte/data"
)

// Fails if steps or images are left out, waiting is not part of a fed step, or the shares are wrong.
func TestData(t *testing.T) {
	folder := t.TempDir()
	if err := PackScenes(folder); err != nil {
		t.Fatal(err)
	}
	o := tiny("lte")
	set, err := data.Open(data.Source{Path: folder, Size: o.Image, Fit: data.Fit{Keep: 0.875}}, 0)
	if err != nil || set.Train.Len() != 512 || set.Classes != 10 {
		t.Fatal(set, err)
	}
	d, err := RunData(o, set, 10)
	if err != nil {
		t.Fatal(err)
	}
	if d.Images < 10 || d.ImagesPerSecond <= 0 || d.Steps < o.Rounds || d.StepMS <= 0 || d.WaitMS < 0 || d.WaitMS > d.FedStepMS ||
		math.Abs(d.WaitShare*d.FedStepMS-d.WaitMS) > 1e-9 || math.Abs(d.FedStepMS*(1-d.CostShare)-d.StepMS) > 1e-9*d.StepMS {
		t.Errorf("%+v", d)
	}
	o.Rounds = 0
	if d, err := RunData(o, set, 10); err != nil || d.Steps != 0 || d.Images < 10 {
		t.Errorf("without steps: %+v, %v", d, err)
	}
}
