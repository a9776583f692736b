package data

import (
	"image"
	"math"
	"slices"
	"strings"
	"testing"

	"lte/random"
)

// mixCase is a mini-batch of images of that shape.
type mixCase struct{ n, channels, height, width int }

var mixCases = []mixCase{{1, 3, 4, 4}, {2, 1, 8, 8}, {5, 2, 7, 9}, {8, 3, 32, 32}, {3, 1, 1, 6}, {0, 1, 2, 2}}

var bothMixes = Mix{Mixup: 0.8, CutMix: 1, Probability: 1}

func counted(n int) (labels []int) {
	for i := range n {
		labels = append(labels, 3*i+1)
	}
	return labels
}

// Image i is a mixture by λ of itself and its partner, compared with a copy mixed value by value.
// Fails on a partner that was mixed already, another λ for the second of a pair, a box that differs between images or
// channels or is no box, a λ that is not the box's area, and labels of others. Mixup: three roundings of 6e-8 of
// values below 1.
func TestMixAgainstSimpleTwin(t *testing.T) {
	rng := random.Stream(1, "test")
	for _, m := range []Mix{{Mixup: 0.8, Probability: 1}, {CutMix: 1, Probability: 1}} {
		for _, k := range mixCases {
			area, changed := k.height*k.width, false
			size := k.channels * area
			for range 40 {
				before := noise(k.n*size, rng)
				images, labels, others := slices.Clone(before), counted(k.n), make([]int, k.n)
				lambda := m.Apply(images, others, labels, k.channels, k.height, k.width, rng)
				if lambda < 0 || lambda > 1 {
					t.Fatalf("λ is %v", lambda)
				}
				var in []bool // (height, width), of CutMix's box
				for i := range k.n {
					if others[i] != labels[k.n-1-i] {
						t.Fatalf("%+v: image %d's other label is %d, want %d", k, i, others[i], labels[k.n-1-i])
					}
					own, partner := before[i*size:(i+1)*size], before[(k.n-1-i)*size:(k.n-i)*size]
					got := images[i*size : (i+1)*size]
					if 2*i == k.n-1 { // its own partner
						if !sameBits(got, own) {
							t.Fatalf("%+v %+v: the middle image changed", m, k)
						}
						continue
					}
					if m.Mixup > 0 {
						for j := range got {
							want := float64(lambda)*float64(own[j]) + (1-float64(lambda))*float64(partner[j])
							if math.Abs(float64(got[j])-want) > 2e-7 {
								t.Fatalf("%+v: image %d, value %d is %v, want %v", k, i, j, got[j], want)
							}
							changed = changed || got[j] != own[j]
						}
						continue
					}
					mine := make([]bool, size)
					for j := range got {
						if mine[j] = got[j] == partner[j]; !mine[j] && got[j] != own[j] {
							t.Fatalf("%+v: image %d, value %d is of neither", k, i, j)
						}
						changed = changed || mine[j]
					}
					if in == nil {
						in = mine[:area]
					}
					for c := range k.channels {
						if !slices.Equal(mine[c*area:(c+1)*area], in) {
							t.Fatalf("%+v: image %d, channel %d has another box", k, i, c)
						}
					}
				}
				if in != nil {
					checkBox(t, k, in, lambda)
				}
			}
			if changed != (k.n > 1) && k.height > 1 {
				t.Errorf("%+v of %+v: changed %v", m, k, changed)
			}
		}
	}
}

// checkBox expects a box, and λ to be the share of the pixels outside of it.
func checkBox(t *testing.T, k mixCase, in []bool, lambda float32) {
	t.Helper()
	b, n := image.Rectangle{}, 0
	for at, is := range in {
		if is {
			y, x := at/k.width, at%k.width
			b = b.Union(image.Rect(x, y, x+1, y+1))
			n++
		}
	}
	if n != b.Dx()*b.Dy() {
		t.Fatalf("%+v: %d pixels in a box of %d", k, n, b.Dx()*b.Dy())
	}
	if want := float32(1 - float64(n)/float64(len(in))); lambda != want {
		t.Fatalf("%+v: λ is %v, the share that stays %v", k, lambda, want)
	}
}

// The mini-batch's mean image is unchanged, as each pair's sum is. Eight values below 1 and two
// roundings of 6e-8 for each.
func TestMixPreservesTheMean(t *testing.T) {
	rng := random.Stream(1, "test")
	const n, size = 8, 192
	images := noise(n*size, rng)
	mean := func() (sum [size]float64) {
		for i, x := range images {
			sum[i%size] += float64(x) / n
		}
		return sum
	}
	before := mean()
	for range 20 {
		bothMixes.Apply(images, make([]int, n), counted(n), 3, 8, 8, rng)
		for j, x := range mean() {
			if math.Abs(x-before[j]) > 20*2*6e-8 {
				t.Fatalf("the mean of value %d was %v, is %v", j, before[j], x)
			}
		}
	}
}

// Fails if λ = 1 changes a bit, or λ = 0 does not exchange the images.
func TestMixAtItsEnds(t *testing.T) {
	rng := random.Stream(1, "test")
	before := noise(4*16, rng)
	exchanged := slices.Concat(before[48:], before[32:48], before[16:32], before[:16])
	for lambda, want := range map[float32][]float32{1: before, 0: exchanged} {
		images := slices.Clone(before)
		blend(images, 4, 16, lambda)
		if !sameBits(images, want) {
			t.Errorf("mixup by λ = %v", lambda)
		}
	}
	for range 100 {
		if b := drawBox(1, 4, 4, rng); !b.Empty() {
			t.Fatalf("λ = 1 has a box %v", b)
		}
	}
	for _, m := range []Mix{{}, {Mixup: 1, CutMix: 1}, {Probability: 1}} {
		images := slices.Clone(before)
		others := make([]int, 4)
		if lambda := m.Apply(images, others, []int{1, 2, 3, 4}, 1, 4, 4, rng); lambda != 1 || !sameBits(images, before) ||
			!slices.Equal(others, []int{4, 3, 2, 1}) || !m.None() {
			t.Errorf("%+v mixes: λ %v, others %v", m, lambda, others)
		}
	}
}

// Before clipping, drawBox has √(1-λ) of the image's sides, rounded down to even numbers as in the published code, about a centre anywhere
// in the image. Fails on a ratio without the root, exchanged sides, or a centre that never reaches an edge.
func TestBoxes(t *testing.T) {
	rng := random.Stream(1, "test")
	const height, width = 20, 40
	for range 3000 {
		lambda := rng.Float64()
		b := drawBox(lambda, height, width, rng)
		if !b.In(image.Rect(0, 0, width, height)) || b.Min.Y > b.Max.Y || b.Min.X > b.Max.X {
			t.Fatalf("box %v", b)
		}
		tall, wide := int(height*math.Sqrt(1-lambda))/2*2, int(width*math.Sqrt(1-lambda))/2*2
		inside := b.Min.Y > 0 && b.Max.Y < height && b.Min.X > 0 && b.Max.X < width
		if h, w := b.Dy(), b.Dx(); h > tall || w > wide || inside && (h != tall || w != wide) {
			t.Fatalf("λ %v: box %v, want %d×%d or a part of it", lambda, b, wide, tall)
		}
	}
	reach := image.Rect(0, 0, width, height) // of 10 rows and 20 columns: the last top, the first bottom
	for range 3000 {
		b := drawBox(0.75, height, width, rng)
		reach.Min = image.Pt(max(reach.Min.X, b.Min.X), max(reach.Min.Y, b.Min.Y))
		reach.Max = image.Pt(min(reach.Max.X, b.Max.X), min(reach.Max.Y, b.Max.Y))
	}
	if want := (image.Rectangle{Min: image.Pt(width-1-10, height-1-5), Max: image.Pt(10, 5)}); reach != want {
		t.Errorf("boxes reach %v, want %v", reach, want)
	}
}

// Beta(α, α) has mean 1/2 and variance 1/(4(2α+1)). Fails on another distribution, and NaN for small α. Of 20000 draws
// the mean's deviation is below 0.5/√20000, the variance's below half of that.
func TestBeta(t *testing.T) {
	const n = 20000
	rng := random.Stream(1, "test")
	for _, alpha := range []float64{1e-30, 1e-3, 0.01, 0.1, 0.2, 0.8, 1, 4, 1e6, math.MaxFloat32} {
		var sum, squares float64
		for range n {
			x := beta(alpha, rng)
			if !(x >= 0 && x <= 1) {
				t.Fatalf("α %v: drew %v", alpha, x)
			}
			sum, squares = sum+x, squares+(x-0.5)*(x-0.5)
		}
		want := 1 / (4 * (2*alpha + 1))
		if e := 5 * 0.5 / math.Sqrt(n); math.Abs(sum/n-0.5) > e || math.Abs(squares/n-want) > e/2 {
			t.Errorf("α %v: mean %v, variance %v, want %v", alpha, sum/n, squares/n, want)
		}
	}
}

// Fails if other than Probability of the mini-batches are mixed, or other than half of these by CutMix. Of 4000 mini-batches 1200 ± 29 are
// mixed, half of them by CutMix, ± 17; five deviations are allowed.
func TestMixShares(t *testing.T) {
	rng := random.Stream(1, "test")
	mixed, cut := 0.0, 0.0
	for range 4000 {
		images := slices.Concat(make([]float32, 64), slices.Repeat([]float32{1}, 64))
		m := Mix{Mixup: 1e6, CutMix: 1e6, Probability: 0.3} // λ near 1/2
		if lambda := m.Apply(images, make([]int, 2), make([]int, 2), 1, 8, 8, rng); lambda != 1 {
			mixed++
			if slices.Contains(images, 1) {
				cut++
			}
		}
	}
	if math.Abs(mixed-1200) > 145 || math.Abs(cut-mixed/2) > 90 {
		t.Errorf("%v of 4000 mixed, %v of them by CutMix", mixed, cut)
	}
}

// Fails if a draw is not from the stream, or if a call allocates.
func TestMixFollowsItsStream(t *testing.T) {
	mix := func(id uint64) ([]float32, float32) {
		images := noise(4*48, random.Stream(1, "test"))
		lambda := bothMixes.Apply(images, make([]int, 4), make([]int, 4), 3, 4, 4, random.Stream(1, "mix", id))
		return images, lambda
	}
	differ := 0
	for id := range uint64(20) {
		x, a := mix(id)
		y, b := mix(id)
		if !sameBits(x, y) || a != b {
			t.Errorf("stream %d: two outcomes", id)
		}
		if _, c := mix(id + 1); c != a {
			differ++
		}
	}
	if differ < 10 {
		t.Errorf("%d of 20 streams differ from the next one", differ)
	}
	rng := random.Stream(1, "test")
	images, others, labels := noise(4*48, rng), make([]int, 4), make([]int, 4)
	for _, alpha := range []float64{0.1, 0.8, 1, 2} {
		m := Mix{alpha, alpha, 1}
		if n := testing.AllocsPerRun(200, func() { m.Apply(images, others, labels, 3, 4, 4, rng) }); n != 0 {
			t.Errorf("α %v: %v allocations a call", alpha, n)
		}
	}
}

// Fails if a value out of range is accepted, or if the error does not name the key.
func TestMixMisuse(t *testing.T) {
	for key, m := range map[string]Mix{
		"data.mixup": {Mixup: -1}, "data.cutmix": {CutMix: math.NaN()}, "data.mix_probability": {Probability: 1.5},
	} {
		if err := m.Check(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	rng := random.Stream(1, "test")
	x, l := make([]float32, 32), make([]int, 2)
	for name, f := range map[string]func(){
		"images": func() { bothMixes.Apply(x[:31], l, l, 1, 4, 4, rng) },
		"others": func() { bothMixes.Apply(x, l[:1], l, 1, 4, 4, rng) },
		"α":      func() { Mix{Mixup: math.Inf(1)}.Apply(x, l, l, 1, 4, 4, rng) },
		"range": func() {
			(&Batch{Images: x, Labels: l}).Mix(bothMixes, &Set{Shape: Shape{Channels: 1, Height: 4, Width: 4}}, 1, 3, rng)
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
}

// Fails if mini-batches of several heads are mixed with each other, if λ or labels are of another head, or if targets of an earlier batch
// remain in memory that the feed reuses.
func TestBatchOfSeveralHeads(t *testing.T) {
	set := openTest(t)
	o := FeedOptions{Seed: 1, Batch: 12, Size: 1}
	f, plain := NewFeed(set, o), NewFeed(set, o)
	defer f.Close()
	defer plain.Close()
	for step := range 10 {
		b, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		was := take(t, plain, 1)[0]
		if b.Others != nil && (!slices.Equal(b.Others, b.Labels) || !slices.Equal(b.Lambda, slices.Repeat([]float32{1}, 12))) {
			t.Fatalf("step %d begins with λ %v and others %v of labels %v", step, b.Lambda, b.Others, b.Labels)
		}
		for _, h := range []int{2, 0} { // not head 1
			images, others := was.Images[h*4*64:(h+1)*4*64], make([]int, 4)
			lambda := bothMixes.Apply(images, others, was.Labels[h*4:(h+1)*4], 1, 8, 8, random.Stream(1, "mix", uint64(step), uint64(h)))
			b.Mix(bothMixes, set, h*4, (h+1)*4, random.Stream(1, "mix", uint64(step), uint64(h)))
			if !slices.Equal(b.Others[h*4:(h+1)*4], others) || !slices.Equal(b.Lambda[h*4:(h+1)*4], slices.Repeat([]float32{lambda}, 4)) {
				t.Fatalf("step %d, head %d: λ %v, others %v, want %v and %v", step, h, b.Lambda, b.Others, lambda, others)
			}
		}
		if !sameBits(b.Images, was.Images) || !slices.Equal(b.Labels, was.Labels) ||
			!slices.Equal(b.Others[4:8], b.Labels[4:8]) || !slices.Equal(b.Lambda[4:8], []float32{1, 1, 1, 1}) {
			t.Fatalf("step %d: not each head's own mix", step)
		}
	}
}

// Mixing of 64 colour images of 32×32.
func BenchmarkMix(b *testing.B) {
	rng := random.Stream(1, "test")
	images, others, labels := noise(64*3072, rng), make([]int, 64), make([]int, 64)
	b.ReportAllocs()
	for b.Loop() {
		bothMixes.Apply(images, others, labels, 3, 32, 32, rng)
	}
}
