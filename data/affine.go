package data

import (
	"math"
	"math/rand/v2"
)

// Affine is a random affine distortion about the image's centre (Simard, Steinkraus and Platt, "Best practices for convolutional neural
// networks applied to visual document analysis", 2003). Each field is the half-width of a uniform distribution around the identity.
type Affine struct {
	Rotate float64 // degrees
	Shift  float64 // pixels, drawn for each axis
	Scale  float64 // relative, in [0, 1), drawn for each axis: a factor in 1-Scale..1+Scale
	Shear  float64 // degrees, in [0, 90), along rows
}

// valid panics unless the distortion is in range; the negated comparisons catch NaN.
func (a Affine) valid() {
	if !(a.Rotate >= 0 && a.Rotate <= math.MaxFloat32 && a.Shift >= 0 && a.Shift <= math.MaxFloat32 &&
		a.Scale >= 0 && a.Scale < 1 && a.Shear >= 0 && a.Shear < 90) {
		panic("data: affine distortion out of range")
	}
}

// draw always draws six values from rng, so that setting one field to 0 leaves the other draws unchanged.
func (a Affine) draw(rng *rand.Rand) (d distortion) {
	d.rotate = a.Rotate * (2*rng.Float64() - 1)
	d.shiftX = a.Shift * (2*rng.Float64() - 1)
	d.shiftY = a.Shift * (2*rng.Float64() - 1)
	d.scaleX = 1 + a.Scale*(2*rng.Float64()-1)
	d.scaleY = 1 + a.Scale*(2*rng.Float64()-1)
	d.shear = a.Shear * (2*rng.Float64() - 1)
	return d
}

// distortion is one draw of an Affine: scale, then shear, rotate and shift. x points right and y down, so that a positive angle turns
// clockwise.
type distortion struct {
	rotate, shear  float64 // degrees
	shiftX, shiftY float64 // pixels
	scaleX, scaleY float64 // factors
}

// apply writes the distorted src into dst, both (channels, height, width) and not overlapping. Pixels from outside the image are 0. It
// samples src by the inverse map and allocates nothing. With p a pixel's offset from the centre c,
//
//	p_dst = R·H·S·p_src + shift,  R = |cos -sin|  H = |1 tan|  S = |sx 0 |
//	                                  |sin  cos|      |0  1 |      |0  sy|
//
// and therefore p_src = S⁻¹·H⁻¹·R⁻¹·(p_dst - shift), with bilinear interpolation between four pixels.
func (d distortion) apply(dst, src []float32, channels, height, width int) {
	area := height * width
	if height <= 0 || width <= 0 || channels <= 0 || len(dst) != channels*area || len(src) != len(dst) {
		panic("data: affine distortion of slices of the wrong length")
	}
	if &dst[0] == &src[0] {
		panic("data: affine distortion in place")
	}
	sin, cos := sincosDegrees(d.rotate)
	tan := math.Tan(d.shear * math.Pi / 180)
	xx, xy := (cos+tan*sin)/d.scaleX, (sin-tan*cos)/d.scaleX
	yx, yy := -sin/d.scaleY, cos/d.scaleY

	centreX, centreY := float64(width-1)/2, float64(height-1)/2
	for y := range height {
		py := float64(y) - centreY - d.shiftY
		for x := range width {
			px := float64(x) - centreX - d.shiftX
			u := xx*px + xy*py + centreX
			v := yx*px + yy*py + centreY
			at := y*width + x
			if !(u > -1 && u < float64(width) && v > -1 && v < float64(height)) {
				for c := range channels {
					dst[c*area+at] = 0
				}
				continue
			}
			u0, v0 := math.Floor(u), math.Floor(v)
			fu, fv := float32(u-u0), float32(v-v0)
			i, j := int(u0), int(v0)
			// A neighbour outside the image counts as 0: its weight is set to 0, and its index to a valid one.
			left, right, up, down := 1-fu, fu, 1-fv, fv
			i1, j1 := i+1, j+1
			if i < 0 {
				i, left = 0, 0
			}
			if i1 >= width {
				i1, right = i, 0
			}
			if j < 0 {
				j, up = 0, 0
			}
			if j1 >= height {
				j1, down = j, 0
			}
			a, b, e, f := j*width+i, j*width+i1, j1*width+i, j1*width+i1
			for c := range channels {
				s := src[c*area : (c+1)*area]
				dst[c*area+at] = up*(left*s[a]+right*s[b]) + down*(left*s[e]+right*s[f])
			}
		}
	}
}

// sincosDegrees is exact at multiples of 90°, unlike radians.
func sincosDegrees(degrees float64) (sin, cos float64) {
	quarters := math.Round(degrees / 90)
	sin, cos = math.Sincos((degrees - quarters*90) * math.Pi / 180)
	switch int(math.Mod(quarters, 4)+4) % 4 {
	case 1:
		sin, cos = cos, -sin
	case 2:
		sin, cos = -sin, -cos
	case 3:
		sin, cos = -cos, sin
	}
	return sin, cos
}
