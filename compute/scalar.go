package compute

import "math"

const (
	invSqrt2   = 0.70710678118654752440
	invSqrt2Pi = 0.39894228040143267794
)

// cdf is Φ(x) = (1 + erf(x/√2))/2 in float32. erf is the rational minimax approximation of Eigen and XLA,
// x·P(x²)/Q(x²) on |x| ≤ 4: a few units in the last place.
func cdf(x float32) float32 {
	t := min(max(x*invSqrt2, -4), 4)
	u := t * t
	p := float32(-2.72614225801306e-10)
	for _, c := range [...]float32{2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
		-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02} {
		p = p*u + c
	}
	q := float32(-1.45660718464996e-05)
	for _, c := range [...]float32{-2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
		-1.42647390514189e-02} {
		q = q*u + c
	}
	return 0.5 + 0.5*t*p/q
}

// exp is eˣ in float32: x = n·ln2 + f, a polynomial of degree 6 for e^f (Cephes), and 2ⁿ through the exponent bits.
func exp(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, -87), 88)
	n := float32(math.Floor(float64(x*1.44269504088896341 + 0.5)))
	f := x - n*0.693359375 + n*2.12194440e-4
	p := float32(1.9875691500e-4)
	for _, c := range [...]float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		p = p*f + c
	}
	return (p*f*f + f + 1) * math.Float32frombits(uint32(int32(n)+127)<<23)
}
