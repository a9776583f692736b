package compute

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// gonumBackend is the pure-Go back end: gonum's product and plain loops. It runs where there is no cgo, and it is the
// simple twin of the C kernels.
type gonumBackend struct{}

func newGonum(int) Backend { return gonumBackend{} }

func (gonumBackend) Name() string { return "gonum" }

func (gonumBackend) Gemm(tA, tB blas.Transpose, alpha float32, a, b blas32.General, beta float32, c blas32.General) {
	if m, n, _ := checkGemm(tA, tB, a, b, c); m*n == 0 {
		return
	}
	blas32.Gemm(tA, tB, alpha, a, b, beta, c)
}

func (gonumBackend) AddRows(dst blas32.General, bias []float32) {
	checkRows(dst, bias, dst.Cols)
	for i := range dst.Rows {
		addTo(dst.Data[i*dst.Cols:(i+1)*dst.Cols], bias)
	}
}

func (gonumBackend) SumRows(dst []float32, x blas32.General) {
	checkRows(x, dst, x.Cols)
	for i := range x.Rows {
		addTo(dst, x.Data[i*x.Cols:(i+1)*x.Cols])
	}
}

func (gonumBackend) Add(dst, x []float32) {
	checkEqual(len(dst), x)
	addTo(dst, x)
}

func addTo(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

func (gonumBackend) Scale(dst []float32, alpha float32) {
	for i := range dst {
		dst[i] *= alpha
	}
}

func (gonumBackend) SumSquares(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

func (gonumBackend) GELU(dst, x []float32) {
	checkEqual(len(dst), x)
	for i, v := range x {
		dst[i] = v * cdf(v)
	}
}

func (gonumBackend) GELUBackward(dx, dy, x []float32) {
	checkEqual(len(dx), dy, x)
	for i, v := range x {
		dx[i] = dy[i] * (cdf(v) + v*invSqrt2Pi*exp(-0.5*v*v))
	}
}

func (gonumBackend) Normalize(xhat blas32.General, rstd []float32, x blas32.General, eps float32) {
	checkRows(x, rstd, x.Rows)
	checkEqual(len(x.Data), xhat.Data)
	n := float32(x.Cols)
	for i := range x.Rows {
		row := x.Data[i*x.Cols : (i+1)*x.Cols]
		var sum, squares float32
		for _, v := range row {
			sum += v
		}
		mean := sum / n
		for _, v := range row {
			squares += (v - mean) * (v - mean)
		}
		rstd[i] = 1 / float32(math.Sqrt(float64(squares/n+eps)))
		for j, v := range row {
			xhat.Data[i*x.Cols+j] = (v - mean) * rstd[i]
		}
	}
}

func (gonumBackend) NormalizeBackward(dx, dy, xhat blas32.General, rstd []float32) {
	checkRows(xhat, rstd, xhat.Rows)
	checkEqual(len(xhat.Data), dx.Data, dy.Data)
	n := float32(xhat.Cols)
	for i := range xhat.Rows {
		at := i * xhat.Cols
		g, h := dy.Data[at:at+xhat.Cols], xhat.Data[at:at+xhat.Cols]
		var sum, dot float32
		for j, v := range g {
			sum += v
			dot += v * h[j]
		}
		for j, v := range g {
			dx.Data[at+j] += rstd[i] * (v - sum/n - h[j]*dot/n)
		}
	}
}

func (gonumBackend) Attention(out, probs, qkv []float32, s AttentionShape) {
	s.check(out, probs, qkv)
	width, stride := s.Heads*s.Dim, s.ProbStride()
	scale := 1 / float32(math.Sqrt(float64(s.Dim)))
	s.each(func(b, h int) {
		q, k, v := s.offset(b, 0, h), s.offset(b, 1, h), s.offset(b, 2, h)
		for i := range s.Tokens {
			at := ((b*s.Heads+h)*s.Tokens + i) * stride
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
	})
}

func (gonumBackend) AttentionBackward(dqkv, dout, probs, qkv []float32, s AttentionShape) {
	s.check(dout, probs, qkv)
	checkEqual(len(qkv), dqkv)
	width, stride := s.Heads*s.Dim, s.ProbStride()
	scale := 1 / float32(math.Sqrt(float64(s.Dim)))
	clear(dqkv)
	dp := make([]float32, s.Tokens)
	s.each(func(b, h int) {
		q, k, v := s.offset(b, 0, h), s.offset(b, 1, h), s.offset(b, 2, h)
		for i := range s.Tokens {
			p := probs[((b*s.Heads+h)*s.Tokens+i)*stride:][:s.Tokens]
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
	})
}

// each calls f for every image and attention head.
func (s AttentionShape) each(f func(b, h int)) {
	for b := range s.Batch {
		for h := range s.Heads {
			f(b, h)
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
	root := float32(math.Sqrt(float64(s.C2)))
	for i, gi := range g {
		m[i] = s.Beta1*m[i] + (1-s.Beta1)*gi
		v[i] = s.Beta2*v[i] + (1-s.Beta2)*gi*gi
		p[i] -= s.LR * s.Decay * p[i]
		p[i] -= s.LR / s.C1 * m[i] / (float32(math.Sqrt(float64(v[i])))/root + s.Eps)
	}
}

func (gonumBackend) SGD(p, buf, g []float32, lr, momentum, decay float32) {
	checkEqual(len(p), buf, g)
	for i, gi := range g {
		buf[i] = momentum*buf[i] + gi + decay*p[i]
		p[i] -= lr * buf[i]
	}
}
