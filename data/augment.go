package data

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Augment is the random augmentation of a training image, in this order. The zero value is none.
type Augment struct {
	ResizedCrop ResizedCrop
	RandAugment RandAugment
	Colour      ColourJitter
	Affine      Affine
	Crop        int  // pixels of black padding on every side, before a random crop to the original size
	Flip        bool // mirror left to right with probability 1/2
	Erasing     Erasing
}

// Check returns an error that names the configuration's key unless the augmentation suits images of that shape.
func (a Augment) Check(channels, height, width int) error {
	if side := min(height, width); a.Crop < 0 || a.Crop >= side {
		return fmt.Errorf("data.crop %d: expected 0..%d for images of %d×%d pixels; correct data.crop",
			a.Crop, side-1, width, height)
	}
	if a.transformsBytes() && channels != 1 && channels != 3 {
		return fmt.Errorf("data.randaugment, data.brightness, data.contrast and data.saturation are for images of 1 or 3 channels, not %d: set them to 0",
			channels)
	}
	return cmp.Or(a.ResizedCrop.Check(), a.RandAugment.Check(), a.Colour.Check(), a.Erasing.Check())
}

// transformsBytes reports whether the augmentation includes transforms of bytes: RandAugment or colour jitter.
func (a Augment) transformsBytes() bool {
	return a.RandAugment.Operations > 0 || a.Colour != (ColourJitter{})
}

// transformsFloats reports whether it includes transforms of float32 pixels: the affine distortion or the crop.
func (a Augment) transformsFloats() bool { return a.Affine != (Affine{}) || a.Crop > 0 }

// draws are the random values for one image.
type draws struct {
	affine distortion
	dx, dy int // shift of the image, -Crop..Crop
	flip   bool
}

// draw always draws nine values from rng: six for the affine distortion, two for the crop, one for the flip. Disabling one of them leaves
// the other draws unchanged.
func (a Augment) draw(rng *rand.Rand) (d draws) {
	d.affine = a.Affine.draw(rng)
	span := float64(2*a.Crop + 1)
	d.dx = int(span*rng.Float64()) - a.Crop
	d.dy = int(span*rng.Float64()) - a.Crop
	d.flip = rng.Float64() < 0.5 && a.Flip
	return d
}

// Apply writes a randomly distorted, cropped and flipped src into dst. Both, and scratch for the intermediate image, are (channels,
// height, width) and do not overlap. Pixels from outside the image are 0. It allocates nothing.
func (a Augment) Apply(dst, src, scratch []float32, channels, height, width int, rng *rand.Rand) {
	a.Affine.valid()
	n := channels * height * width
	if channels <= 0 || height <= 0 || width <= 0 || len(dst) != n || len(src) != n || len(scratch) != n {
		panic("data: augmentation of slices of the wrong length")
	}
	if &dst[0] == &src[0] || &dst[0] == &scratch[0] || &src[0] == &scratch[0] {
		panic("data: augmentation in place")
	}
	if a.Crop < 0 || a.Crop >= min(height, width) {
		panic("data: crop out of range")
	}
	d := a.draw(rng)
	distort, move := a.Affine != (Affine{}), d.dx != 0 || d.dy != 0 || d.flip
	switch {
	case distort && move:
		d.affine.apply(scratch, src, channels, height, width)
		cropFlip(dst, scratch, d.dx, d.dy, d.flip, channels, height, width)
	case distort:
		d.affine.apply(dst, src, channels, height, width)
	default:
		cropFlip(dst, src, d.dx, d.dy, d.flip, channels, height, width)
	}
}

// cropFlip shifts an image by dx to the right and dy down, padding with black, and mirrors the result left to right if flip:
//
//	dst(y, x) = src(y - dy, x - dx)             0 where src has no such pixel
//	dst(y, x) = src(y - dy, width-1-x - dx)     with flip
func cropFlip(dst, src []float32, dx, dy int, flip bool, channels, height, width int) {
	from, to := max(0, dx), min(width, width+dx) // the columns that are not black, before the flip
	for row := range channels * height {
		d := dst[row*width : (row+1)*width]
		y := row%height - dy
		if y < 0 || y >= height {
			clear(d)
			continue
		}
		s := src[(row-dy)*width : (row-dy+1)*width]
		clear(d[:from])
		copy(d[from:to], s[from-dx:to-dx])
		clear(d[to:])
		if flip {
			slices.Reverse(d)
		}
	}
}
