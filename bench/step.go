package bench

import (
	"runtime"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/train"
)

// Step is the speed of local steps of a rank: one LoRA head (lte) or all weights (full), on one fixed batch. Several ranks take steps at
// the same time, without communication; figures are of rank 0 unless they say all ranks.
//
// FLOPs are those of plain products, 2·m·n·k each, and nothing else: a back end that needs fewer (Strassen's algorithm) can have a
// Share above 1. For an image of T tokens (P of them patches), a block of width w and linear layers (out, in) = (m, n) of rank r they are
//
//	forward                 Σ 2·ρmn           ρ rows per image: P for the patch embedding; 1 for the classifier and, in a ViT's
//	input gradient          Σ 2·ρmn           last block, after the attention; w for a Mixer's token mixing; T elsewhere (in a
//	                                          Mixer, T = P). No input gradient for the embedding
//	full: weight gradient   Σ 2·ρmn
//	lte: effective weight   Σ 2·mnr/batch
//	lte: factor gradients   Σ 4·ρr(m+n), or 2·ρmn + 4·mnr/batch if that is less
//	or both by the factors  Σ 6·ρr(m+n) if that is less, as for few rows (2·ρrn less for an embedding)
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
	Ranks           int                `json:"ranks"` // that took steps at the same time, each with its own head
	Threads         int                `json:"threads"`
	Steps           int                `json:"steps"`
	ImagesPerSecond float64            `json:"images_per_second"` // of all ranks together, by the median step
	FLOPsPerImage   float64            `json:"flops_per_image"`
	GFLOPS          float64            `json:"gflops"`               // 10⁹ FLOP/s of one rank, by the median step
	RooflineGFLOPS  float64            `json:"roofline_gflops"`      // see Roofline; measured between the steps
	Share           float64            `json:"share"`                // GFLOPS / RooflineGFLOPS
	StepMS          float64            `json:"step_ms"`              // the median step, milliseconds
	MS              map[string]float64 `json:"ms"`                   // mean milliseconds per step, by kind of work
	Allocations     float64            `json:"allocations_per_step"` // of the median step, which leaves out the runtime's occasional own ones
	PeakBytes       int64              `json:"peak_bytes"`           // peak resident set size of the process
	GrowthBytes     int64              `json:"growth_bytes"`         // of PeakBytes since the warm-up
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
			meter.Reset()
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
	flops, other := meter.FLOPs()/n, total
	for k := range compute.Kind(compute.Kinds) {
		tally := meter.Tallies[k]
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

// rooflineEvery is the number of steps for each round of products, which takes a fraction of a step.
const rooflineEvery = 2
