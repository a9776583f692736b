package data

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lte/data/transform"
)

// RandAugment is that of Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data augmentation with a reduced search
// space", arXiv 1909.13719: a number of operations, each drawn anew and all of one magnitude, one after the other. Operations
// and what a magnitude stands for are torchvision's. Nothing set is none.
type RandAugment struct {
	Operations int
	Magnitude  int // 0..MostMagnitude
}

// MostMagnitude is the strongest magnitude of RandAugment.
const MostMagnitude = 30

// Check returns an error that names the configuration's key unless r can be drawn.
func (r RandAugment) Check() error {
	if r.Operations < 0 || r.Operations > 100 {
		return fmt.Errorf("data.randaugment %d: expected 0..100; correct data.randaugment", r.Operations)
	}
	if r.Magnitude < 0 || r.Magnitude > MostMagnitude {
		return fmt.Errorf("data.randaugment_magnitude %d: expected 0..%d; correct data.randaugment_magnitude", r.Magnitude, MostMagnitude)
	}
	return nil
}

// operations are those that are drawn, each as likely, by m: the magnitude's share of the most, in 0..1. Where there are two
// ways to go sign is 1 or -1, each as likely. The first leaves the picture as it is.
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

// apply takes two numbers from rng for each operation: which, and which way.
func (r RandAugment) apply(on *easel, rng *rand.Rand) {
	m := float64(r.Magnitude) / MostMagnitude
	for range r.Operations {
		which, sign := rng.IntN(len(operations)), float64(1-2*rng.IntN(2))
		if f := operations[which]; f != nil {
			on.paint(func(dst, src *Picture) { f(dst, src, m, sign) })
		}
	}
}

// easel holds a picture that one operation after another changes, without a word to where it came from.
type easel struct {
	picture *Picture
	rooms   [2]Picture
	next    int // of rooms
}

// paint makes the picture what f makes of it.
func (e *easel) paint(f func(dst, src *Picture)) {
	dst := &e.rooms[e.next]
	f(dst, e.picture)
	e.picture, e.next = dst, 1-e.next
}
