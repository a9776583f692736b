package data

import (
	"cmp"
	"math"
	"math/rand/v2"

	"lte/data/transform"
)

// RandAugment is a number of randomly drawn operations of one magnitude (Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data
// augmentation with a reduced search space", arXiv 1909.13719). Operations and magnitudes are torchvision's. The zero value is none.
type RandAugment struct {
	Operations int
	Magnitude  int // 0..MaxMagnitude
}

// MaxMagnitude is the largest magnitude of RandAugment.
const MaxMagnitude = 30

// Check returns an error that names the configuration's key unless r is in range.
func (r RandAugment) Check() error {
	return cmp.Or(inRange("randaugment", float64(r.Operations), 0, 100), inRange("randaugment_magnitude", float64(r.Magnitude), 0, MaxMagnitude))
}

// operations are drawn with equal probability and called with the magnitude m in 0..1. sign is 1 or -1, each with probability 1/2, for
// those that have two directions. The first is the identity.
var operations = [...]func(dst, src *Picture, m, sign float64){
	nil,
	func(dst, src *Picture, m, sign float64) { transform.ShearX(dst, src, sign*0.3*m) },
	func(dst, src *Picture, m, sign float64) { transform.ShearY(dst, src, sign*0.3*m) },
	func(dst, src *Picture, m, sign float64) {
		transform.Translate(dst, src, int(sign*150/331*float64(src.Width)*m), 0)
	},
	func(dst, src *Picture, m, sign float64) {
		transform.Translate(dst, src, 0, int(sign*150/331*float64(src.Height)*m))
	},
	func(dst, src *Picture, m, sign float64) { transform.Rotate(dst, src, sign*30*m) },
	func(dst, src *Picture, m, sign float64) { transform.Brightness(dst, src, 1+sign*0.9*m) },
	func(dst, src *Picture, m, sign float64) { transform.Saturation(dst, src, 1+sign*0.9*m) },
	func(dst, src *Picture, m, sign float64) { transform.Contrast(dst, src, 1+sign*0.9*m) },
	func(dst, src *Picture, m, sign float64) { transform.Sharpness(dst, src, 1+sign*0.9*m) },
	func(dst, src *Picture, m, _ float64) { transform.Posterize(dst, src, 8-int(math.RoundToEven(4*m))) },
	func(dst, src *Picture, m, _ float64) { transform.Solarize(dst, src, 255*(1-m)) },
	func(dst, src *Picture, _, _ float64) { transform.AutoContrast(dst, src) },
	func(dst, src *Picture, _, _ float64) { transform.Equalize(dst, src) },
}

// apply draws two values from rng for each operation: the operation and the sign.
func (r RandAugment) apply(p *transformed, rng *rand.Rand) {
	m := float64(r.Magnitude) / MaxMagnitude
	for range r.Operations {
		which, sign := rng.IntN(len(operations)), float64(1-2*rng.IntN(2))
		if f := operations[which]; f != nil {
			p.apply(func(dst, src *Picture) { f(dst, src, m, sign) })
		}
	}
}

// transformed is a picture that operations change one after the other, in two buffers; the original is not written to.
type transformed struct {
	picture *Picture
	buffers [2]Picture
	next    int // of buffers
}

// apply replaces the picture by f of it.
func (t *transformed) apply(f func(dst, src *Picture)) {
	dst := &t.buffers[t.next]
	f(dst, t.picture)
	t.picture, t.next = dst, 1-t.next
}
