package compute

import (
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Kind is a kind of work that a benchmark reports separately.
type Kind int

// The kinds. LoRA is the adapters' own work: effective weights and the factors' gradients.
const (
	Product Kind = iota
	LoRA
	Attention
	Normalization
	Activation
	Optimizer
	Other
	Kinds int = iota
)

func (k Kind) String() string {
	return [...]string{"product", "lora", "attention", "normalisation", "activation", "optimizer", "other"}[k]
}

// Tally is the cost of a kind of work.
type Tally struct {
	Time  time.Duration
	FLOPs float64 // of products, 2·m·n·k each; softmax and element-wise work are not counted
}

// Meter is a back end that measures the time and FLOPs of another, those of each kernel below under its kind.
type Meter struct {
	Backend
	Tallies *[Kinds]Tally
	kind    Kind // of products and conversions
}

// NewMeter returns a meter of b with all tallies 0.
func NewMeter(b Backend) *Meter { return &Meter{Backend: b, Tallies: new([Kinds]Tally)} }

// CountAs returns b; where b is a Meter, one that counts products and conversions as k, in the same tallies.
func CountAs(b Backend, k Kind) Backend {
	if m, ok := b.(*Meter); ok {
		return &Meter{Backend: m.Backend, Tallies: m.Tallies, kind: k}
	}
	return b
}

// Reset sets all tallies to 0.
func (m *Meter) Reset() { *m.Tallies = [Kinds]Tally{} }

// FLOPs is the sum over all kinds.
func (m *Meter) FLOPs() (sum float64) {
	for _, t := range m.Tallies {
		sum += t.FLOPs
	}
	return sum
}

// add is deferred by the methods below: began is then the time of the call.
func (m *Meter) add(k Kind, began time.Time, flops float64) {
	t := &m.Tallies[k]
	t.Time += time.Since(began)
	t.FLOPs += flops
}

func (m *Meter) Gemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c Operand) {
	defer m.add(m.kind, time.Now(), 2*float64(a.Rows)*float64(a.Cols)*float64(c.Cols)) // a is (m, k) or (k, m)
	m.Backend.Gemm(tA, tB, alpha, a, b, beta, c)
}

func (m *Meter) Linear(y, x, w Operand, bias []float32, beta float32) {
	defer m.add(m.kind, time.Now(), 2*float64(y.Rows)*float64(y.Cols)*float64(x.Cols))
	m.Backend.Linear(y, x, w, bias, beta)
}

func (m *Meter) LinearBackwardInput(dx, dy, w Operand) {
	defer m.add(m.kind, time.Now(), 2*float64(dx.Rows)*float64(dx.Cols)*float64(dy.Cols))
	m.Backend.LinearBackwardInput(dx, dy, w)
}

func (m *Meter) AddProduct(dst Operand, c blas32.General, alpha float32, a, b blas32.General) {
	defer m.add(m.kind, time.Now(), 2*float64(dst.Rows)*float64(dst.Cols)*float64(a.Cols))
	m.Backend.AddProduct(dst, c, alpha, a, b)
}

func (m *Meter) Round(dst Operand, x blas32.General) {
	k := m.kind
	if k == Product {
		k = Other
	}
	defer m.add(k, time.Now(), 0)
	m.Backend.Round(dst, x)
}

func (m *Meter) Transpose(dst Operand, x blas32.General) {
	defer m.add(m.kind, time.Now(), 0)
	m.Backend.Transpose(dst, x)
}

func (m *Meter) GELU(y, dydx, x Operand) {
	defer m.add(Activation, time.Now(), 0)
	m.Backend.GELU(y, dydx, x)
}

func (m *Meter) Multiply(dst, x, y Operand) {
	defer m.add(Activation, time.Now(), 0)
	m.Backend.Multiply(dst, x, y)
}

func (m *Meter) LayerNorm(y Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32) {
	defer m.add(Normalization, time.Now(), 0)
	m.Backend.LayerNorm(y, xhat, rstd, x, gamma, beta, eps)
}

func (m *Meter) LayerNormBackward(dx blas32.General, dy Operand, xhat blas32.General, rstd, gamma []float32) {
	defer m.add(Normalization, time.Now(), 0)
	m.Backend.LayerNormBackward(dx, dy, xhat, rstd, gamma)
}

func (m *Meter) LayerNormBackwardParams(dgamma, dbeta []float32, dy Operand, xhat blas32.General) {
	defer m.add(Normalization, time.Now(), 0)
	m.Backend.LayerNormBackwardParams(dgamma, dbeta, dy, xhat)
}

// ProductFLOPs is that of one product, Q Kᵀ or another, over all images and heads.
func (s AttentionShape) ProductFLOPs() float64 {
	return 2 * float64(s.Batch*s.Heads*s.Dim) * float64(s.Tokens*s.Queries)
}

// Attention is counted: two products.
func (m *Meter) Attention(out Operand, probs []float32, qkv Operand, s AttentionShape) {
	defer m.add(Attention, time.Now(), 2*s.ProductFLOPs())
	m.Backend.Attention(out, probs, qkv, s)
}

// AttentionBackward is counted: four products.
func (m *Meter) AttentionBackward(dqkv, dout Operand, probs []float32, qkv Operand, s AttentionShape) {
	defer m.add(Attention, time.Now(), 4*s.ProductFLOPs())
	m.Backend.AttentionBackward(dqkv, dout, probs, qkv, s)
}

// SumSquares is counted as the optimizer's: it computes the gradient's norm.
func (m *Meter) SumSquares(x []float32) float64 {
	defer m.add(Optimizer, time.Now(), 0)
	return m.Backend.SumSquares(x)
}

func (m *Meter) AdamW(p, mom, v, g []float32, s AdamWStep) {
	defer m.add(Optimizer, time.Now(), 0)
	m.Backend.AdamW(p, mom, v, g, s)
}

func (m *Meter) Nesterov(mom, g []float32, mu, clip float64) {
	defer m.add(Optimizer, time.Now(), 0)
	m.Backend.Nesterov(mom, g, mu, clip)
}

func (m *Meter) SGD(p, buf, g []float32, s SGDStep) {
	defer m.add(Optimizer, time.Now(), 0)
	m.Backend.SGD(p, buf, g, s)
}
