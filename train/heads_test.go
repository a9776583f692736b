package train

import (
	"fmt"
	"testing"

	"lte/collective"
	"lte/compute"
	"lte/config"
)

// thin is a configuration of which passes through the factors are the cheaper way for all layers: few rows.
func thin(reset string) config.Config {
	c := tinyConfig("lte")
	gentle(&c)
	c.Optimizer.ClipNorm, c.Optimizer.LR = 0, 0.01 // clipping would hide a factor
	c.Model.Patch, c.Model.Width, c.Model.MLP, c.Model.Depth = 4, 32, 48, 2
	c.Train.Batch, c.LoRA.Heads, c.Merge.Reset = 2, 4, reset
	return c
}

// counting is a back end that counts passes: each begins with its images' patches.
type counting struct {
	compute.Backend
	count int
}

func (p *counting) Patches(dst compute.Operand, images []float32, s compute.ImageShape) {
	p.count++
	p.Backend.Patches(dst, images, s)
}

// Heads that share a pass train what they train in passes of their own, with biases, noise and mixed images too.
//
// Fails if the pass is not shared, or if a head gets another's images, labels, masks or gradient, or one that is
// divided by the number of heads.
func TestFusedPassIsSeparatePasses(t *testing.T) {
	for _, reset := range []string{"none", "b"} {
		for _, bias := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/bias=%v", reset, bias), func(t *testing.T) {
				var trainers [2]*Trainer
				for i := range trainers {
					c := thin(reset)
					c.LoRA.Bias = bias
					c.Model.Dropout, c.Model.DropPath, c.Data.Mixup, c.Data.CutMix = 0.1, 0.3, 0.8, 1
					be := &counting{Backend: backend(t, "auto", 1)}
					tr := newTrainerOn(t, c, collective.Alone{}, tinySet(60), be)
					if tr.fused == nil {
						t.Fatal("not together")
					}
					if i == 1 {
						tr.fused = nil
					}
					f := tr.newFeed()
					defer f.Close()
					tr.feed = f
					if _, err := tr.localSteps(1); err != nil || be.count != []int{1, 4}[i] {
						t.Fatalf("%d passes for 4 heads: %v", be.count, err)
					}
					trainers[i] = tr
				}
				before := linear(trainers[0])
				for range 3 {
					var losses [2]float64
					for i, tr := range trainers {
						status, err := tr.localSteps(3)
						must(t, err)
						losses[i], err = tr.Merge(3, status)
						must(t, err)
					}
					near(t, "loss", losses[:1], losses[1:], 1e-5)
					for k, w := range trainers[0].workers {
						near(t, "factors", w.heads[0].Value, trainers[1].workers[k].heads[0].Value, 1e-5)
					}
					near(t, "W", linear(trainers[0]), linear(trainers[1]), 1e-5)
				}
				distant(t, "W", linear(trainers[0]), before)
			})
		}
	}
}

// Fails if heads share a pass where a worker needs one of its own: one head, replicas, several passes a mini-batch, one
// mini-batch for all, or where forming W_k is cheaper.
func TestPassesThatAreNotFused(t *testing.T) {
	for what, set := range map[string]func(c *config.Config){
		"one head":    func(c *config.Config) { c.LoRA.Heads = 1 },
		"replicas":    func(c *config.Config) { c.Replicas.Train = []string{"class_token"} },
		"accumulated": func(c *config.Config) { c.Train.Accumulate = 2 },
		"the same":    func(c *config.Config) { c.Data.Share = "same" },
		"many rows":   func(c *config.Config) { c.Train.Batch = 32 },
		"all weights": func(c *config.Config) { c.Method, c.LoRA.Heads, c.Merge.Reset = "full", 0, "auto" },
	} {
		c := thin("none")
		set(&c)
		if newTrainer(t, c, collective.Alone{}, tinySet(60)).fused != nil {
			t.Errorf("%s: together", what)
		}
	}
}
