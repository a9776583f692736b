package bench

import (
	"runtime"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/train"
)

// Step is the speed of local steps of a rank: one LoRA head (lte) or all weights (full), on one fixed batch. Where there
// are several ranks all take steps at once, without a word; what is not said to be of all is of rank 0.
//
// FLOPs are those of plain products, 2·m·n·k for every one that is made and nothing else: where the back end needs fewer (Strassen's
// algorithm), Share can pass 1. An image of T tokens (P of
// them patches) and a block of width w then costs, over the linear layers (out, in) = (m, n) of rank r,
//
//	forward                 Σ 2·ρmn           ρ rows an image: P for the patch embedding; 1 for the classifier and, in a ViT's
//	input gradient          Σ 2·ρmn           last block, behind the attention; w for a Mixer's token mixing; T elsewhere (in a
//	                                          Mixer, T = P). No input gradient for the embedding
//	full: weight gradient   Σ 2·ρmn
//	lte: effective weight   Σ 2·mnr/batch
//	lte: factor gradients   Σ 4·ρr(m+n), or 2·ρmn + 4·mnr/batch where that is less
//	or both by the factors  Σ 6·ρr(m+n) where that is less, as it is for few rows (an embedding: 2·ρrn less)
//	attention, each block   12·T²w            two products forward, four backward; none in a Mixer
type Step struct {
	Kind            string             `json:"kind"` // "step"
	Model           string             `json:"model"`
	Method          string             `json:"method"`
	Image           int                `json:"image"`
	Batch           int                `json:"batch"`
	Rank            int                `json:"rank,omitempty"` // of the LoRA head
	Backend         string             `json:"backend"`
	DType           string             `json:"dtype"`
	Ranks           int                `json:"ranks"` // that took steps side by side, each a head of its own
	Threads         int                `json:"threads"`
	Steps           int                `json:"steps"`
	ImagesPerSecond float64            `json:"images_per_second"` // of the median step, all ranks together
	FLOPsPerImage   float64            `json:"flops_per_image"`
	GFLOPS          float64            `json:"gflops"`               // of one rank: FLOPs / second of the median step, in 10⁹
	RooflineGFLOPS  float64            `json:"roofline_gflops"`      // see Roofline; measured between the steps
	Share           float64            `json:"share"`                // GFLOPS / RooflineGFLOPS
	StepMS          float64            `json:"step_ms"`              // the median step, milliseconds
	MS              map[string]float64 `json:"ms"`                   // mean milliseconds of a step, by kind of work
	Allocations     float64            `json:"allocations_per_step"` // of the median step: the runtime's own, now and then, are not the step's
	PeakBytes       int64              `json:"peak_bytes"`           // resident, of the process
	GrowthBytes     int64              `json:"growth_bytes"`         // of PeakBytes, from after the warm-up to the end
}

// RunStep measures local steps, with a round of products between them for the roofline. Every rank of the group calls it.
func RunStep(o Options, g collective.Group) (Step, error) {
	t, batch, meter, err := o.trainer(collective.Alone{})
	if err := collective.Agree(g, err); err != nil {
		return Step{}, err
	}
	products, err := o.products()
	if err := collective.Agree(g, err); err != nil {
		return Step{}, err
	}
	allocate(products, compute.DType(o.Config.Compute.DType))
	var (
		before, after runtime.MemStats
		seconds       []float64
		total         time.Duration
		allocations   []float64
		start         int64
	)
	for i := range o.Warmup + o.Rounds {
		if i == o.Warmup {
			forget(products)
			*meter.Tallies = [compute.Kinds]compute.Tally{}
			seconds, total, allocations, start = seconds[:0], 0, allocations[:0], train.PeakMemory()
		}
		if i%rooflineEvery == 0 || i <= o.Warmup {
			round(meter.Backend, products)
		}
		runtime.ReadMemStats(&before)
		began := time.Now()
		if err := step(t, batch); err != nil {
			return Step{}, err
		}
		d := time.Since(began)
		runtime.ReadMemStats(&after)
		total += d
		seconds = append(seconds, d.Seconds())
		allocations = append(allocations, float64(after.Mallocs-before.Mallocs))
	}
	n := float64(o.Rounds)
	s := Step{Kind: "step", Model: o.name(), Method: o.Config.Method, Image: o.Image, Batch: o.Config.Train.Batch,
		Backend: meter.Name(), DType: o.Config.Compute.DType, Ranks: g.Size(), Threads: o.Threads, Steps: o.Rounds,
		StepMS: 1e3 * median(seconds), RooflineGFLOPS: roofline(products), MS: map[string]float64{},
		Allocations: median(allocations), PeakBytes: train.PeakMemory(), GrowthBytes: train.PeakMemory() - start}
	if o.Config.Spec().HasHeads() {
		s.Rank = o.Config.LoRA.Rank
	}
	flops, other := 0.0, total
	for k := range compute.Kind(compute.Kinds) {
		tally := meter.Tallies[k]
		flops += tally.FLOPs / n
		if other -= tally.Time; k != compute.Other {
			s.MS[k.String()] = 1e3 * tally.Time.Seconds() / n
		}
	}
	s.MS[compute.Other.String()] = 1e3 * (other + meter.Tallies[compute.Other].Time).Seconds() / n
	s.FLOPsPerImage = flops / float64(s.Batch)
	s.GFLOPS = flops / s.StepMS / 1e6
	s.Share = s.GFLOPS / s.RooflineGFLOPS
	speed := []float64{1e3 * float64(s.Batch) / s.StepMS}
	err = collective.Sum(g, speed)
	s.ImagesPerSecond = speed[0]
	return s, err
}

// rooflineEvery spaces the rounds of products, which last a fraction of a step.
const rooflineEvery = 2
