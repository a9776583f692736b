package data

import (
	"cmp"
	"image"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// Mix blends the images of a mini-batch in pairs: mixup (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",
// arXiv 1710.09412), CutMix (Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", arXiv
// 1905.04899), or with both set, either of them with probability 1/2 per mini-batch. It does the same as timm's Mixup in mode "batch". The
// zero value is no mixing.
type Mix struct {
	Mixup       float64 // α of mixup's λ ~ Beta(α, α); 0: none
	CutMix      float64 // α of CutMix's
	Probability float64 // of mixing a mini-batch, in 0..1
}

// None reports whether m never mixes.
func (m Mix) None() bool { return m.Mixup == 0 && m.CutMix == 0 || m.Probability == 0 }

// Check returns an error that names the configuration key unless m is in range.
func (m Mix) Check() error {
	return cmp.Or(inRange("mixup", m.Mixup, 0, math.MaxFloat32), inRange("cutmix", m.CutMix, 0, math.MaxFloat32),
		inRange("mix_probability", m.Probability, 0, 1))
}

// Apply mixes a mini-batch of n = len(labels) images, (n, channels, height, width), in place: image i with image n-1-i, all with one λ,
// which it returns. others gets the partners' labels; image i's target is then
//
//	λ·onehot(labels[i]) + (1-λ)·onehot(others[i])
//
// Mixup: x_i ← λ·x_i + (1-λ)·x_{n-1-i}. CutMix: x_i gets a box of x_{n-1-i}, the same box for all images, and λ is the share of the other
// pixels. The middle image of an odd n is its own partner and unchanged. λ is 1 if the mini-batch is not mixed. It allocates nothing.
func (m Mix) Apply(images []float32, others []int, labels []int, channels, height, width int, rng *rand.Rand) (lambda float32) {
	n, size := len(labels), channels*height*width
	if channels <= 0 || height <= 0 || width <= 0 || len(images) != n*size || len(others) != n {
		panic("data: mixing of slices of the wrong length")
	}
	if m.Check() != nil {
		panic("data: mixing out of range")
	}
	for i := range labels {
		others[i] = labels[n-1-i]
	}
	if m.None() || rng.Float64() >= m.Probability {
		return 1
	}
	cut := m.Mixup == 0
	if m.Mixup > 0 && m.CutMix > 0 {
		cut = rng.Float64() < 0.5
	}
	if !cut {
		lambda = float32(beta(m.Mixup, rng))
		blend(images, n, size, lambda)
		return lambda
	}
	b := drawBox(beta(m.CutMix, rng), height, width, rng)
	swap(images, n, channels, height, width, b)
	return float32(1 - float64(b.Dx()*b.Dy())/float64(height*width))
}

// blend is mixup's x_i ← λ·x_i + (1-λ)·x_{n-1-i} for n images of size values.
func blend(images []float32, n, size int, lambda float32) {
	rest := 1 - lambda
	for i := range n / 2 {
		a, b := images[i*size:(i+1)*size], images[(n-1-i)*size:(n-i)*size]
		b = b[:len(a)]
		for k, x := range a {
			y := b[k]
			a[k], b[k] = lambda*x+rest*y, lambda*y+rest*x
		}
	}
}

// drawBox is CutMix's box with √(1-λ) of the image's sides, about a uniformly drawn centre and clipped to the image (Yun et al., equation
// 2, and their code).
func drawBox(lambda float64, height, width int, rng *rand.Rand) image.Rectangle {
	ratio := math.Sqrt(1 - lambda)
	halfHeight, halfWidth := int(float64(height)*ratio)/2, int(float64(width)*ratio)/2
	y, x := rng.IntN(height), rng.IntN(width)
	return image.Rect(x-halfWidth, y-halfHeight, x+halfWidth, y+halfHeight).Intersect(image.Rect(0, 0, width, height))
}

// swap exchanges a box of image i and image n-1-i.
func swap(images []float32, n, channels, height, width int, in image.Rectangle) {
	size := channels * height * width
	for i := range n / 2 {
		for c := range channels {
			for y := in.Min.Y; y < in.Max.Y; y++ {
				row := (c*height + y) * width
				a := images[i*size+row+in.Min.X : i*size+row+in.Max.X]
				b := images[(n-1-i)*size+row+in.Min.X:][:len(a)]
				for k, x := range a {
					a[k], b[k] = b[k], x
				}
			}
		}
	}
}

// beta draws from Beta(α, α), the share of one gamma draw in the sum of two. For small α both may be below the smallest float64: then the
// result is 0 or 1 with equal probability.
func beta(alpha float64, rng *rand.Rand) float64 {
	x := distuv.Beta{Alpha: alpha, Beta: alpha, Src: rng}.Rand()
	if math.IsNaN(x) {
		x = float64(rng.Uint64() >> 63)
	}
	return x
}
