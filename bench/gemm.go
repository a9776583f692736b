package bench

import (
	"math/rand/v2"
	"time"

	"lte/compute"

	"gonum.org/v1/gonum/blas"
)

// Gemm is the speed of one product of a model's linear layers: c (m, n) = op(a)·op(b), k the inner side.
type Gemm struct {
	Kind    string  `json:"kind"` // "gemm"
	Layer   string  `json:"layer"`
	Pass    string  `json:"pass"` // forward, input gradient or weight gradient
	M       int     `json:"m"`
	N       int     `json:"n"`
	K       int     `json:"k"`
	Count   int     `json:"count"` // in one step
	DType   string  `json:"dtype"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"` // 10⁹ operations a second, the median of all rounds
}

// Roofline is the speed of all products of a model's linear layers together, each as often as a step makes it: what a
// step would reach that did nothing else.
type Roofline struct {
	Kind    string  `json:"kind"` // "roofline"
	Model   string  `json:"model"`
	Backend string  `json:"backend"`
	DType   string  `json:"dtype"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
}

// product is a shape and its memory. Products of one shape in one pass are one.
type product struct {
	layer, pass string
	tA, tB      blas.Transpose
	m, n, k     int
	count       int
	a, b        compute.Operand
	c           compute.Operand
	seconds     []float64 // of every round
}

func (p *product) flops() float64 { return 2 * float64(p.m) * float64(p.n) * float64(p.k) }

// products are those of the linear layers: forward and input gradient, for method full the weight gradient too. A
// head's own thin products are left out: they are not what the network needs, but how it is trained.
func (o Options) products() []*product {
	m, dtype := o.Config.Model, compute.DType(o.Config.Compute.DType)
	patches := (o.Image / m.Patch) * (o.Image / m.Patch)
	rows := o.Config.Train.Batch * (patches + 1)
	rng := rand.New(rand.NewPCG(1, 1))
	var all []*product
	add := func(layer string, rows, out, in, count int, inputGradient bool) {
		for _, p := range []*product{
			{layer: layer, pass: "forward", tA: blas.NoTrans, tB: blas.Trans, m: rows, n: out, k: in},
			{layer: layer, pass: "input gradient", tA: blas.NoTrans, tB: blas.NoTrans, m: rows, n: in, k: out},
			{layer: layer, pass: "weight gradient", tA: blas.Trans, tB: blas.NoTrans, m: out, n: in, k: rows},
		} {
			if p.pass == "input gradient" && !inputGradient || p.pass == "weight gradient" && o.Config.Method != "full" {
				continue
			}
			p.count = count
			p.a, p.b = operand(dtype, p.tA, p.m, p.k, rng), operand(dtype, p.tB, p.k, p.n, rng)
			p.c = compute.NewOperand(compute.Float32, p.m, p.n)
			all = append(all, p)
		}
	}
	add("patch embedding", o.Config.Train.Batch*patches, m.Width, 3*m.Patch*m.Patch, 1, false)
	add("qkv", rows, 3*m.Width, m.Width, m.Depth, true)
	add("attention output", rows, m.Width, m.Width, m.Depth-1, true) // the last block's is for class tokens alone
	add("mlp in", rows, m.MLP, m.Width, m.Depth-1, true)
	add("mlp out", rows, m.Width, m.MLP, m.Depth-1, true)
	return all
}

// operand is a random matrix, stored so that op makes it rows×cols.
func operand(d compute.DType, op blas.Transpose, rows, cols int, rng *rand.Rand) compute.Operand {
	if op == blas.Trans {
		rows, cols = cols, rows
	}
	o := compute.NewOperand(d, rows, cols)
	for i := range o.F32 {
		o.F32[i] = rng.Float32() - 0.5
	}
	for i := range o.BF16 {
		o.BF16[i] = 0x3f00 | uint16(rng.Uint32()&0x80ff) // ±0.5 to ±2
	}
	return o
}

// round times every product once, after a run that warms its memory.
func round(be compute.Backend, all []*product) {
	for _, p := range all {
		run := func() { be.Gemm(p.tA, p.tB, 1, p.a, p.b, 0, p.c) }
		run()
		began := time.Now()
		run()
		p.seconds = append(p.seconds, time.Since(began).Seconds())
	}
}

// roofline is the rate of all products, in GFLOP/s.
func roofline(all []*product) float64 {
	flops, seconds := 0.0, 0.0
	for _, p := range all {
		flops += float64(p.count) * p.flops()
		seconds += float64(p.count) * median(p.seconds)
	}
	return flops / seconds / 1e9
}

// RunGemm measures the products of a model on the configured back end.
func RunGemm(o Options) ([]Gemm, Roofline, error) {
	be, err := o.backend()
	if err != nil {
		return nil, Roofline{}, err
	}
	all := o.products()
	for i := range o.Warmup + o.Rounds {
		if i == o.Warmup {
			forget(all)
		}
		round(be, all)
	}
	var rows []Gemm
	for _, p := range all {
		rows = append(rows, Gemm{"gemm", p.layer, p.pass, p.m, p.n, p.k, p.count, o.Config.Compute.DType, o.Threads,
			p.flops() / median(p.seconds) / 1e9})
	}
	return rows, Roofline{"roofline", o.name(), be.Name(), o.Config.Compute.DType, o.Threads, roofline(all)}, nil
}

func forget(all []*product) {
	for _, p := range all {
		p.seconds = p.seconds[:0]
	}
}
