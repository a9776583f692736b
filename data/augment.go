package data

import (
	"cmp"
	"fmt"
	"math/rand/v2"
)

// Augment is the random augmentation of a training image, in this order. Nothing set is no augmentation.
type Augment struct {
	ResizedCrop ResizedCrop
	RandAugment RandAugment
	Colour      ColourJitter
	Affine      Affine
	Crop        int  // pixels: every side is padded by that many of black, and a piece of the size before cut out at random
	Flip        bool // mirrors left to right, every other time
	Erasing     Erasing
}

// Check returns an error that names the configuration's key unless the augmentation suits images of that shape.
func (a Augment) Check(channels, height, width int) error {
	if side := min(height, width); a.Crop < 0 || a.Crop >= side {
		return fmt.Errorf("data.crop %d: expected 0..%d for images of %d×%d pixels, or nothing of an image would be left; correct data.crop",
			a.Crop, side-1, width, height)
	}
	if a.paints() && channels != 1 && channels != 3 {
		return fmt.Errorf("data.randaugment, data.brightness, data.contrast and data.saturation are for images of 1 or 3 channels, not %d: set them to 0",
			channels)
	}
	return cmp.Or(a.ResizedCrop.Check(), a.RandAugment.Check(), a.Colour.Check(), a.Erasing.Check())
}

// paints says whether pixels get other colours, or places by RandAugment.
func (a Augment) paints() bool { return a.RandAugment.Operations > 0 || a.Colour != (ColourJitter{}) }

// moves says whether pixels get new places, but for a mirror and RandAugment.
func (a Augment) moves() bool { return a.Affine != (Affine{}) || a.Crop > 0 }

// draws are the numbers of one image.
type draws struct {
	affine distortion
	dx, dy int // what the image's content moves by, -Crop..Crop
	flip   bool
}

// draw always takes nine numbers from rng: six for the affine distortion, two for the crop, one for the flip. Setting
// one of them to nothing leaves the others' draws as they are.
func (a Augment) draw(rng *rand.Rand) (d draws) {
	d.affine = a.Affine.draw(rng)
	span := float64(2*a.Crop + 1)
	d.dx = int(span*rng.Float64()) - a.Crop
	d.dy = int(span*rng.Float64()) - a.Crop
	d.flip = rng.Float64() < 0.5 && a.Flip
	return d
}

// Apply writes an src that is randomly distorted, cropped and flipped into dst; both and room, where the steps between are kept, are
// (channels, height, width) and apart from each other. Pixels that come from outside the image are 0. It allocates
// nothing.
func (a Augment) Apply(dst, src, room []float32, channels, height, width int, rng *rand.Rand) {
	a.Affine.valid()
	n := channels * height * width
	if channels <= 0 || height <= 0 || width <= 0 || len(dst) != n || len(src) != n || len(room) != n {
		panic("data: augmentation of slices of the wrong length")
	}
	if &dst[0] == &src[0] || &dst[0] == &room[0] || &src[0] == &room[0] {
		panic("data: augmentation in place")
	}
	if a.Crop < 0 || a.Crop >= min(height, width) {
		panic("data: crop out of range")
	}
	d := a.draw(rng)
	distort, move := a.Affine != (Affine{}), d.dx != 0 || d.dy != 0 || d.flip
	switch {
	case distort && move:
		d.affine.apply(room, src, channels, height, width)
		cropFlip(dst, room, d.dx, d.dy, d.flip, channels, height, width)
	case distort:
		d.affine.apply(dst, src, channels, height, width)
	default:
		cropFlip(dst, src, d.dx, d.dy, d.flip, channels, height, width)
	}
}

// cropFlip moves an image by dx to the right and dy down, black coming in, and mirrors the outcome left to right:
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
		if !flip {
			clear(d[:from])
			copy(d[from:to], s[from-dx:to-dx])
			clear(d[to:])
			continue
		}
		clear(d[:width-to])
		mirror := d[width-to : width-from]
		for i, v := range s[from-dx : to-dx] {
			mirror[len(mirror)-1-i] = v
		}
		clear(d[width-from:])
	}
}
