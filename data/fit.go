package data

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lte/data/picture"
)

// Fit describes how pictures of any size become the model's input.
type Fit struct {
	Filter picture.Filter
	Keep   float64 // share of the shorter side, in (0, 1], that the centre crop keeps; 0: another size is an error
}

// plan is that of torchvision's reference for evaluation: resize the shorter side to 1/Keep of the input, and crop the centre. A picture
// of the input's size is unchanged.
func (f Fit) plan(height, width, toHeight, toWidth int) picture.Plan {
	if height == toHeight && width == toWidth {
		return picture.Uncropped(picture.Full(height, width), height, width)
	}
	p := picture.Plan{Box: picture.Full(height, width)}
	p.Height, p.Width = int(math.Round(float64(toHeight)/f.Keep)), int(math.Round(float64(toWidth)/f.Keep))
	// One side gets that size, the other at least that.
	if h := p.Width * height / width; h >= p.Height {
		p.Height = h
	} else {
		p.Width = max(p.Width, p.Height*width/height)
	}
	p.Crop = picture.Box{Top: (p.Height - toHeight) / 2, Left: (p.Width - toWidth) / 2, Height: toHeight, Width: toWidth}
	return p
}

// ResizedCrop is a random resized crop (Szegedy et al. 2014, arXiv 1409.4842; drawn as in torchvision's RandomResizedCrop). The zero
// value is none.
type ResizedCrop struct {
	Area   float64 // smallest share of the picture's area, in (0, 1]; the largest is 1
	Aspect float64 // largest aspect ratio, at least 1, of width to height or of height to width
}

// Check returns an error that names the configuration's key unless the crop is in range.
func (p ResizedCrop) Check() error {
	if p == (ResizedCrop{}) {
		return nil
	}
	if !(p.Area > 0 && p.Area <= 1) {
		return fmt.Errorf("data.resized_crop_area %v: expected above 0, at most 1; correct data.resized_crop_area", p.Area)
	}
	return inRange("resized_crop_aspect", p.Aspect, 1, 100)
}

// drawCrop returns a random crop with a share between least and most of a picture's area. The area is uniform, the logarithm of the
// aspect ratio uniform up to that of aspect and its inverse. ok is false if ten draws do not fit into the picture.
func drawCrop(height, width int, least, most, aspect float64, rng *rand.Rand) (b picture.Box, ok bool) {
	for range 10 {
		area := float64(height*width) * (least + (most-least)*rng.Float64())
		aspect := math.Exp(math.Log(aspect) * (2*rng.Float64() - 1))
		w, h := int(math.RoundToEven(math.Sqrt(area*aspect))), int(math.RoundToEven(math.Sqrt(area/aspect)))
		if w > 0 && h > 0 && w <= width && h <= height {
			return picture.Box{Top: rng.IntN(height - h + 1), Left: rng.IntN(width - w + 1), Height: h, Width: w}, true
		}
	}
	return b, false
}

// draw returns a random crop of a picture; if none fits, the centre, cropped to the nearest allowed aspect ratio.
func (p ResizedCrop) draw(height, width int, rng *rand.Rand) picture.Box {
	if b, ok := drawCrop(height, width, p.Area, 1, p.Aspect, rng); ok {
		return b
	}
	h := min(height, int(math.RoundToEven(float64(width)*p.Aspect)))
	w := min(width, int(math.RoundToEven(float64(height)*p.Aspect)))
	return picture.Box{Top: (height - h) / 2, Left: (width - w) / 2, Height: h, Width: w}
}
