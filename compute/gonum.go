package compute

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// gonumBackend is the pure-Go back end: gonum's product and plain loops. It is in builds without cgo too, and it is the
// readable reference of the C kernels.
type gonumBackend struct{}

func newGonum(_ int, d DType) (Backend, error) {
	if d != Float32 {
		return nil, fmt.Errorf("compute.dtype = %q needs the back end onednn and a CPU with AVX512_BF16 or AMX: gonum computes in f32 only", d)
	}
	return gonumBackend{}, nil
}

func (gonumBackend) Name() string { return "gonum" }
func (gonumBackend) DType() DType { return Float32 }

// general returns o as gonum's matrix.
func (o Operand) general() blas32.General {
	if o.F32 == nil && o.Rows*o.Cols > 0 {
		panic(errDType)
	}
	return blas32.General{Rows: o.Rows, Cols: o.Cols, Stride: o.Stride, Data: o.F32}
}

func (gonumBackend) Gemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c Operand) {
	if m, n, _ := checkGemm(tA, tB, a, b, c); m*n == 0 {
		return
	}
	blas32.Gemm(tA, tB, alpha, a.general(), b.general(), beta, c.general())
}

func (g gonumBackend) Linear(y, x, w Operand, bias []float32, beta float32) {
	checkRows(y, bias, y.Cols)
	g.Gemm(blas.NoTrans, blas.Trans, 1, x, w, beta, y)
	for i := range y.Rows {
		axpy(row(y.general(), i), 1, bias)
	}
}

func (g gonumBackend) LinearBackwardInput(dx, dy, w Operand) {
	g.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, w, 0, dx)
}

func (g gonumBackend) AddProduct(dst Operand, c blas32.General, alpha float32, a, b blas32.General) {
	g.Round(dst, c)
	g.Gemm(blas.NoTrans, blas.NoTrans, alpha, F32(a), F32(b), 1, dst)
}

func (gonumBackend) Round(dst Operand, x blas32.General) {
	checkSame(dst.general(), x)
	for i := range x.Rows {
		copy(row(dst.general(), i), row(x, i))
	}
}

func (gonumBackend) Transpose(dst Operand, x blas32.General) {
	y := dst.general()
	checkSame(blas32.General{Rows: y.Cols, Cols: y.Rows}, x)
	for i := range x.Rows {
		for j, v := range row(x, i) {
			y.Data[j*y.Stride+i] = v
		}
	}
}

func row(x blas32.General, i int) []float32 { return x.Data[i*x.Stride:][:x.Cols] }

func (gonumBackend) SumRows(dst []float32, x Operand) {
	checkRows(x, dst, x.Cols)
	for i := range x.Rows {
		axpy(dst, 1, row(x.general(), i))
	}
}

func (gonumBackend) Add(dst, x []float32) {
	checkEqual(len(dst), x)
	axpy(dst, 1, x)
}

func (gonumBackend) SumSquares(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

func (gonumBackend) GELU(y, dydx, x Operand) {
	checkAlike(y, dydx, x)
	dst, slope := y.general().Data, dydx.general().Data
	for i, v := range x.general().Data {
		c := cdf(v)
		dst[i], slope[i] = v*c, c+v*invSqrt2Pi*exp(-0.5*v*v)
	}
}

func (gonumBackend) Multiply(dst, x, y Operand) {
	checkAlike(dst, x, y)
	for i, v := range x.general().Data {
		dst.general().Data[i] = v * y.general().Data[i]
	}
}

func (gonumBackend) LayerNorm(y Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32) {
	checkRows(F32(x), rstd, x.Rows)
	checkSame(x, xhat)
	checkSame(y.general(), xhat)
	n := float32(x.Cols)
	for i := range x.Rows {
		in, h := row(x, i), row(xhat, i)
		var sum, squares float32
		for _, v := range in {
			sum += v
		}
		mean := sum / n
		for _, v := range in {
			squares += (v - mean) * (v - mean)
		}
		rstd[i] = 1 / float32(math.Sqrt(float64(squares/n+eps)))
		for j, v := range in {
			h[j] = (v - mean) * rstd[i]
		}
		out := row(y.general(), i)
		copy(out, h)
		for j, g := range gamma {
			out[j] = h[j]*g + beta[j]
		}
	}
}

func (gonumBackend) LayerNormBackward(dx blas32.General, dy Operand, xhat blas32.General, rstd, gamma []float32) {
	checkRows(F32(xhat), rstd, xhat.Rows)
	checkSame(dx, xhat)
	checkSame(dy.general(), xhat)
	n := float32(xhat.Cols)
	g := make([]float32, xhat.Cols)
	for i := range xhat.Rows {
		out, h := row(dx, i), row(xhat, i)
		copy(g, row(dy.general(), i))
		for j, scale := range gamma {
			g[j] *= scale
		}
		var sum, dot float32
		for j, v := range g {
			sum += v
			dot += v * h[j]
		}
		for j, v := range g {
			out[j] += rstd[i] * (v - sum/n - h[j]*dot/n)
		}
	}
}

func (gonumBackend) LayerNormBackwardParams(dgamma, dbeta []float32, dy Operand, xhat blas32.General) {
	checkRows(F32(xhat), dgamma, xhat.Cols)
	checkEqual(len(dgamma), dbeta)
	checkSame(dy.general(), xhat)
	for i := range dy.Rows {
		h := row(xhat, i)
		for j, g := range row(dy.general(), i) {
			dgamma[j] += g * h[j]
			dbeta[j] += g
		}
	}
}

func (gonumBackend) Patches(dst Operand, images []float32, s ImageShape) {
	s.check(dst, images)
	out := dst.general().Data
	at := 0
	for i := range s.Images {
		for py := 0; py < s.Height; py += s.Patch {
			for px := 0; px < s.Width; px += s.Patch {
				for ch := range s.Channels {
					for y := range s.Patch {
						src := ((i*s.Channels+ch)*s.Height+py+y)*s.Width + px
						at += copy(out[at:], images[src:src+s.Patch])
					}
				}
			}
		}
	}
}

func (gonumBackend) Attention(y Operand, probs []float32, x Operand, s AttentionShape) {
	s.check(y, probs, x)
	out, qkv := y.general().Data, x.general().Data
	width, stride := s.Heads*s.Dim, s.ProbStride()
	scale := 1 / float32(math.Sqrt(float64(s.Dim)))
	for pair := range s.Batch * s.Heads {
		b, h := pair/s.Heads, pair%s.Heads
		q, k, v := s.offset(b, 0, h), s.offset(b, 1, h), s.offset(b, 2, h)
		for i := range s.Queries {
			at := (pair*s.Tokens + i) * stride
			p := probs[at : at+s.Tokens]
			clear(probs[at+s.Tokens : at+stride])
			for j := range p {
				p[j] = scale * dot(qkv[q+3*width*i:], qkv[k+3*width*j:], s.Dim)
			}
			softmax(p)
			o := out[(b*s.Tokens+i)*width+h*s.Dim:][:s.Dim]
			clear(o)
			for j, pj := range p {
				axpy(o, pj, qkv[v+3*width*j:])
			}
		}
	}
}

func (gonumBackend) AttentionBackward(dx, dy Operand, probs []float32, x Operand, s AttentionShape) {
	s.checkBackward(dx, dy, probs, x)
	dqkv, dout, qkv := dx.general().Data, dy.general().Data, x.general().Data
	width, stride := s.Heads*s.Dim, s.ProbStride()
	scale := 1 / float32(math.Sqrt(float64(s.Dim)))
	clear(dqkv)
	dp := make([]float32, s.Tokens)
	for pair := range s.Batch * s.Heads {
		b, h := pair/s.Heads, pair%s.Heads
		q, k, v := s.offset(b, 0, h), s.offset(b, 1, h), s.offset(b, 2, h)
		for i := range s.Queries {
			p := probs[(pair*s.Tokens+i)*stride:][:s.Tokens]
			do := dout[(b*s.Tokens+i)*width+h*s.Dim:][:s.Dim]
			var sum float32 // Σ_j P_ij·dP_ij
			for j := range p {
				axpy(dqkv[v+3*width*j:][:s.Dim], p[j], do) // dV = Pᵀ dO
				dp[j] = dot(do, qkv[v+3*width*j:], s.Dim)  // dP = dO Vᵀ
				sum += p[j] * dp[j]
			}
			for j := range p {
				ds := scale * p[j] * (dp[j] - sum) // dS = P∘(dP − rowsum(P∘dP))
				axpy(dqkv[q+3*width*i:][:s.Dim], ds, qkv[k+3*width*j:])
				axpy(dqkv[k+3*width*j:][:s.Dim], ds, qkv[q+3*width*i:])
			}
		}
	}
}

// offset is where the query (0), key (1) or value (2) of an image's first token and head starts in qkv.
func (s AttentionShape) offset(b, which, h int) int {
	return (b*s.Tokens*3+which)*s.Heads*s.Dim + h*s.Dim
}

func dot(x, y []float32, n int) float32 {
	var sum float32
	for i, v := range x[:n] {
		sum += v * y[i]
	}
	return sum
}

// axpy computes dst += a·x over dst's length.
func axpy(dst []float32, a float32, x []float32) {
	for i := range dst {
		dst[i] += a * x[i]
	}
}

func softmax(p []float32) {
	top := p[0]
	for _, v := range p {
		top = max(top, v)
	}
	var sum float32
	for j, v := range p {
		p[j] = exp(v - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
}

func (gonumBackend) AdamW(p, m, v, g []float32, s AdamWStep) {
	checkEqual(len(p), m, v, g)
	a := s.scalars()
	for i, gi := range g {
		gi *= a.clip
		m[i] = lerp(m[i], gi, a.rest1)
		v[i] = lerp(v[i], gi*gi, a.rest2)
		p[i] -= a.decay*p[i] + a.rate*m[i]/(float32(math.Sqrt(float64(v[i])))*a.root+a.eps)
	}
}

// lerp is m + rest·(x − m), rounded relative to the nearer of the two, as torch.lerp.
func lerp(m, x, rest float32) float32 {
	if rest < 0.5 {
		return m + rest*(x-m)
	}
	return x - (1-rest)*(x-m)
}

func (gonumBackend) Nesterov(m, g []float32, mu, clip float64) {
	checkEqual(len(m), g)
	for i, gi := range g {
		gi *= float32(clip)
		m[i] = float32(mu)*m[i] + gi
		g[i] = gi + float32(mu)*m[i]
	}
}

func (gonumBackend) SGD(p, buf, g []float32, s SGDStep) {
	checkEqual(len(p), buf, g)
	a := s.scalars()
	for i, gi := range g {
		x := a.clip*gi + a.decay*p[i]
		if a.rest < 0.5 {
			buf[i] += x - a.rest*buf[i]
		} else {
			buf[i] = (1-a.rest)*buf[i] + x
		}
		p[i] -= a.lr * buf[i]
	}
}
