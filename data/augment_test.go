package data

import (
	"math"
	"math/rand/v2"
	"testing"

	"lte/random"
)

// cropFlip compared with a reference: the image is padded with black, cropped, and mirrored. Fails if directions or axes are exchanged, if
// the flip precedes the crop, or if edges are doubled or not overwritten.
func TestCropFlipAgainstReference(t *testing.T) {
	const channels, height, width, pad = 2, 4, 5, 5
	rng := random.Stream(1, "test")
	src := noise(channels*height*width, rng)
	for dy := -height; dy <= height; dy++ {
		for dx := -width; dx <= width; dx++ {
			for _, flip := range []bool{false, true} {
				dst := noise(len(src), rng)
				cropFlip(dst, src, dx, dy, flip, channels, height, width)
				for at := range dst {
					c, y, x := at/(height*width), at/width%height, at%width
					if flip {
						x = width - 1 - x
					}
					var padded [height + 2*pad][width + 2*pad]float32
					for j := range height {
						for i := range width {
							padded[j+pad][i+pad] = src[(c*height+j)*width+i]
						}
					}
					if want := padded[y+pad-dy][x+pad-dx]; dst[at] != want {
						t.Fatalf("by %d, %d, flip %v: value %d is %v, want %v", dx, dy, flip, at, dst[at], want)
					}
				}
			}
		}
	}
}

// Fails on an image changed by an augmentation of nothing, or by two flips.
func TestNothingAndTwoFlips(t *testing.T) {
	rng := random.Stream(1, "test")
	src, once, twice, room := noise(60, rng), noise(60, rng), noise(60, rng), noise(60, rng)
	Augment{}.Apply(once, src, room, 3, 4, 5, rng)
	if !sameBits(once, src) {
		t.Error("an augmentation of nothing changed the image")
	}
	cropFlip(once, src, 0, 0, true, 3, 4, 5)
	cropFlip(twice, once, 0, 0, true, 3, 4, 5)
	if !sameBits(twice, src) || sameBits(once, src) {
		t.Error("two flips are not nothing, or one is")
	}
}

// Augment applies the affine distortion, then crop and flip, each with the same random values whichever of the others are enabled. Fails
// if a disabled option changes a run's images.
func TestStepsInOrder(t *testing.T) {
	const channels, height, width = 3, 8, 8
	rng := random.Stream(1, "test")
	src, dst, want, room := noise(192, rng), noise(192, rng), noise(192, rng), noise(192, rng)
	flips := 0
	for i := range uint64(50) {
		stream := func() *rand.Rand { return random.Stream(2, "test", i) }
		jitter.Apply(dst, src, room, channels, height, width, stream())
		jitter.Affine.Apply(want, src, channels, height, width, stream())
		if !sameBits(dst, want) {
			t.Fatalf("image %d: the affine distortion alone is another one", i)
		}
		all := Augment{Affine: jitter.Affine, Crop: 3, Flip: true}
		d := all.draw(stream())
		if d.flip {
			flips++
		}
		for _, a := range []Augment{all, {Crop: 3, Flip: true}, {Crop: 3}, {Flip: true}, {Affine: jitter.Affine, Flip: true}, {Affine: jitter.Affine, Crop: 3}} {
			step := append([]float32(nil), src...)
			if a.Affine != (Affine{}) {
				a.Affine.Apply(step, src, channels, height, width, stream())
			}
			dx, dy := d.dx, d.dy
			if a.Crop == 0 {
				dx, dy = 0, 0
			}
			cropFlip(want, step, dx, dy, a.Flip && d.flip, channels, height, width)
			after := stream()
			a.Apply(dst, src, room, channels, height, width, after)
			if !sameBits(dst, want) {
				t.Fatalf("image %d: %+v is not its steps one after the other", i, a)
			}
			whole := stream()
			all.draw(whole)
			if after.Uint64() != whole.Uint64() {
				t.Fatalf("%+v leaves the generator elsewhere", a)
			}
		}
	}
	if flips == 0 || flips == 50 {
		t.Errorf("%d of 50 flipped", flips)
	}
}

// Fails if crops are not uniform up to the edges, or if other than half of the images are flipped.
// 9000 draws: each of 9 shifts comes 1000 ± 30 times, a flip 4500 ± 47; five deviations are allowed.
func TestCropAndFlipAreFair(t *testing.T) {
	const n, crop = 9000, 4
	rng := random.Stream(3, "test")
	var x, y [2*crop + 1]float64
	flips, product := 0.0, 0.0
	for range n {
		d := Augment{Crop: crop, Flip: true}.draw(rng)
		x[d.dx+crop]++
		y[d.dy+crop]++
		product += float64(d.dx*d.dy) / (20.0 / 3) // variance of a shift: (9²-1)/12
		if d.flip {
			flips++
		}
	}
	for i := range x {
		if math.Abs(x[i]-1000) > 150 || math.Abs(y[i]-1000) > 150 {
			t.Errorf("shift by %d: %v and %v times of %d", i-crop, x[i], y[i], n)
		}
	}
	if math.Abs(flips-n/2) > 235 || math.Abs(product/n) > 5/math.Sqrt(n) {
		t.Errorf("%v flips of %d, shifts correlate by %v", flips, n, product/n)
	}
}

// Fails if a crop of the complete image, or slices of wrong lengths, are accepted.
func TestAugmentMisuse(t *testing.T) {
	x, y, z, short := make([]float32, 64), make([]float32, 64), make([]float32, 64), make([]float32, 63)
	apply := func(a Augment, dst, src, room []float32) func() {
		return func() { a.Apply(dst, src, room, 1, 8, 8, random.Stream(1, "test")) }
	}
	for name, f := range map[string]func(){
		"crop of all":   apply(Augment{Crop: 8}, x, y, z),
		"negative crop": apply(Augment{Crop: -1}, x, y, z),
		"affine":        apply(Augment{Affine: Affine{Scale: 1}}, x, y, z),
		"length":        apply(Augment{}, x, y, short),
		"in place":      apply(Augment{}, x, x, z),
		"room is dst":   apply(Augment{}, x, y, x),
		"feed": func() {
			NewFeed(openTest(t), FeedOptions{Batch: 1, Size: 1, Augment: Augment{Crop: 8}})
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	for crop, ok := range map[int]bool{0: true, 7: true, 8: false, -1: false} {
		if err := (Augment{Crop: crop}).Check(1, 8, 9); (err == nil) != ok {
			t.Errorf("crop %d: %v", crop, err)
		}
	}
}

// Crop and flip of a 32×32 colour image, with the seeding of its stream.
func BenchmarkCropFlip(b *testing.B) {
	a := Augment{Crop: 4, Flip: true}
	src, dst, room := noise(3072, random.Stream(1, "test")), make([]float32, 3072), make([]float32, 3072)
	source := rand.NewChaCha8([32]byte{})
	rng := rand.New(source)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		source.Seed(random.Key(1, "augment", 0, i))
		a.Apply(dst, src, room, 3, 32, 32, rng)
	}
}

// A feed of 32×32 colour images in memory, one core.
func BenchmarkFeedCropFlip(b *testing.B) {
	m := newMemory(1000, 3, 32, 32)
	set := &Set{Name: "bytes", Classes: 1, Shape: Shape{Channels: 3, Height: 32, Width: 32},
		Mean: []float32{0.5, 0.5, 0.5}, Std: []float32{0.3, 0.3, 0.3}, Train: m, Test: m}
	f := NewFeed(set, FeedOptions{Seed: 1, Batch: 100, Size: 1, Augment: Augment{Crop: 4, Flip: true}})
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Next(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
