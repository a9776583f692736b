package bench

import (
	"math/rand/v2"
	"regexp"
	"time"

	"lte/compute"
	"lte/data"
	"lte/nn"
	"lte/train"

	"gonum.org/v1/gonum/blas"
)

// Gemm is the speed of one product of a model's linear layers: c (m, n) = op(a)·op(b), k the inner dimension.
type Gemm struct {
	Kind    string  `json:"kind"`  // "gemm"
	Layer   string  `json:"layer"` // the model's name; * stands for the number of the block where several blocks have that product
	Pass    string  `json:"pass"`  // forward, input gradient or weight gradient
	M       int     `json:"m"`
	N       int     `json:"n"`
	K       int     `json:"k"`
	Count   int     `json:"count"` // in one step
	DType   string  `json:"dtype"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"` // 10⁹ FLOP/s, the median of all rounds
}

// Roofline is the speed of all products of a model's linear layers together, each as often as in a step: the speed of a step that
// did nothing else.
type Roofline struct {
	Kind    string  `json:"kind"` // "roofline"
	Model   string  `json:"model"`
	Backend string  `json:"backend"`
	DType   string  `json:"dtype"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
}

// product is a shape and its memory. Products of the same layer of different blocks, with the same shape in the same pass, are one.
type product struct {
	nn.Product
	layer   string // the layer's name, with * for the block's number if several blocks have it: encoder.layers.encoder_layer_*.mlp.0
	count   int
	a, b, c compute.Operand
	seconds []float64 // of every round
}

// blockNumber is the first number in a layer's name.
var blockNumber = regexp.MustCompile(`[0-9]+`)

// anyBlock is a layer's name with * for the number of its block.
func anyBlock(name string) string {
	if at := blockNumber.FindStringIndex(name); at != nil {
		return name[:at[0]] + "*" + name[at[1]:]
	}
	return name
}

// products are those of the model's linear layers in a step, without memory. Attention's and the low-rank products of heads are left out.
func (o Options) products() ([]*product, error) {
	set := &data.Set{Shape: data.Shape{Channels: channels, Height: o.Image, Width: o.Image}, Classes: o.Classes}
	outline, err := train.NewOutline(o.Config, 1, set)
	if err != nil {
		return nil, err
	}
	type key struct {
		name    string     // anyBlock of the layer's
		product nn.Product // without its layer
	}
	alike := map[key]*product{}
	var all []*product
	passes, images := outline.Passes(o.Config, o.Config.Train.Batch)
	for _, p := range outline.Model.Products(outline.Layout, images) {
		at := key{anyBlock(p.Layer.Name), p}
		at.product.Layer = nil
		if one := alike[at]; one != nil {
			one.layer = at.name
			one.count += passes
			continue
		}
		alike[at] = &product{Product: p, layer: p.Layer.Name, count: passes}
		all = append(all, alike[at])
	}
	return all, nil
}

// OperandBytes is the memory of the operands of the products that RunGemm and RunStep measure.
func (o Options) OperandBytes() (bytes float64, err error) {
	all, err := o.products()
	element := compute.DType(o.Config.Compute.DType).Size()
	for _, p := range all {
		m, n, k := float64(p.M), float64(p.N), float64(p.K)
		bytes += element*(m*k+k*n) + 4*m*n
	}
	return bytes, err
}

// allocate gives the products operands of random values.
func allocate(all []*product, dtype compute.DType) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, p := range all {
		p.a, p.b = operand(dtype, p.TransA, p.M, p.K, rng), operand(dtype, p.TransB, p.K, p.N, rng)
		p.c = compute.NewOperand(compute.Float32, p.M, p.N)
	}
}

// operand is a random matrix, stored so that op(operand) is rows×cols.
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

// round times every product once, after a run that brings its operands into the cache.
func round(be compute.Backend, all []*product) {
	for _, p := range all {
		run := func() { be.Gemm(p.TransA, p.TransB, 1, p.a, p.b, 0, p.c) }
		run()
		began := time.Now()
		run()
		p.seconds = append(p.seconds, time.Since(began).Seconds())
	}
}

// roofline is the rate of all products together, in GFLOP/s.
func roofline(all []*product) float64 {
	flops, seconds := 0.0, 0.0
	for _, p := range all {
		flops += float64(p.count) * p.FLOPs()
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
	all, err := o.products()
	if err != nil {
		return nil, Roofline{}, err
	}
	allocate(all, compute.DType(o.Config.Compute.DType))
	for i := range o.Warmup + o.Rounds {
		if i == o.Warmup {
			forget(all)
		}
		round(be, all)
	}
	var rows []Gemm
	for _, p := range all {
		rows = append(rows, Gemm{"gemm", p.layer, string(p.Pass), p.M, p.N, p.K, p.count, o.Config.Compute.DType, o.Threads,
			p.FLOPs() / median(p.seconds) / 1e9})
	}
	return rows, Roofline{"roofline", o.name(), be.Name(), o.Config.Compute.DType, o.Threads, roofline(all)}, nil
}

// forget drops the times measured so far.
func forget(all []*product) {
	for _, p := range all {
		p.seconds = p.seconds[:0]
	}
}
