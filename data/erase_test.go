package data

import (
	"math"
	"testing"

	"lte/random"
)

// The erased rectangle is the same in all channels, has 2 to 33 % of the area and an aspect ratio of at most 1/0.3 (up to rounding to
// pixels), anywhere in the image, for the configured fraction of the images (10000 draws: 3000 ± 46, five deviations allowed). Its area is
// uniform, except that large ones do not always fit.
func TestErasedRectanglesHaveTheirDistribution(t *testing.T) {
	const n, channels, height, width = 10000, 3, 60, 80
	rng := random.Stream(1, "test")
	erased, half := 0, 0
	var corner [4]int // how near pieces came to the edges: top, left, bottom, right
	for i := range corner {
		corner[i] = 100
	}
	for range n {
		x := make([]float32, channels*height*width)
		for i := range x {
			x[i] = 1
		}
		Erasing(0.3).apply(x, channels, height, width, rng)
		top, left, bottom, right, zeros := height, width, -1, -1, 0
		for i, v := range x {
			if y, x := i/width%height, i%width; v == 0 {
				top, left, bottom, right, zeros = min(top, y), min(left, x), max(bottom, y), max(right, x), zeros+1
			}
		}
		if zeros == 0 {
			continue
		}
		erased++
		h, w := bottom-top+1, right-left+1
		if zeros != channels*h*w {
			t.Fatalf("%d values of %d×%d pixels are 0: no rectangle in all channels", zeros, w, h)
		}
		area := float64(h*w) / (height * width)
		if area < 0.017 || area > 0.345 || float64(max(h, w)) > float64(min(h, w)+1)/0.3+1 {
			t.Fatalf("%d×%d pixels of %d×%d", w, h, width, height)
		}
		if area < (minErased+maxErased)/2 {
			half++
		}
		for i, far := range []int{top, left, height - 1 - bottom, width - 1 - right} {
			corner[i] = min(corner[i], far)
		}
	}
	if math.Abs(float64(erased)-3000) > 230 || corner != [4]int{} {
		t.Errorf("%d of %d erased, nearest to the edges %v", erased, n, corner)
	}
	if share := float64(half) / float64(erased); share < 0.5 || share > 0.6 { // the largest do not always fit
		t.Errorf("%v of the pieces are of the smaller half of the areas", share)
	}
}
