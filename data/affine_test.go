package data

import (
	"math"
	"math/rand/v2"
	"testing"

	"lte/random"
)

func noise(n int, rng *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = rng.Float32()
	}
	return x
}

func sameBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// Apply is one random distortion without the other steps of Augment.
func (a Affine) Apply(dst, src []float32, channels, height, width int, rng *rand.Rand) {
	a.valid()
	a.draw(rng).apply(dst, src, channels, height, width)
}

// Fails if the centre is off by half a pixel, or an identity interpolates.
func TestIdentityLeavesTheBits(t *testing.T) {
	rng := random.Stream(1, "test")
	for _, shape := range [][3]int{{1, 8, 8}, {3, 5, 8}, {2, 7, 1}, {1, 1, 1}} {
		src := noise(shape[0]*shape[1]*shape[2], rng)
		dst := noise(len(src), rng)
		Affine{}.Apply(dst, src, shape[0], shape[1], shape[2], rng)
		if !sameBits(dst, src) {
			t.Errorf("%v: an affine distortion of nothing changed the image", shape)
		}
	}
}

// Fails on a shift in the wrong direction, on the wrong axis, or one that wraps around instead of filling with 0.
func TestShiftByOne(t *testing.T) {
	src := []float32{ // 2 x 3
		1, 2, 3,
		4, 5, 6,
	}
	cases := []struct {
		x, y float64
		want []float32
	}{
		{1, 0, []float32{0, 1, 2, 0, 4, 5}},
		{-1, 0, []float32{2, 3, 0, 5, 6, 0}},
		{0, 1, []float32{0, 0, 0, 1, 2, 3}},
		{0, -1, []float32{4, 5, 6, 0, 0, 0}},
		{0.5, 0, []float32{0.5, 1.5, 2.5, 2, 4.5, 5.5}},
		{0, 9, []float32{0, 0, 0, 0, 0, 0}},
	}
	for _, k := range cases {
		dst := make([]float32, 6)
		distortion{shiftX: k.x, shiftY: k.y, scaleX: 1, scaleY: 1}.apply(dst, src, 1, 2, 3)
		if !sameBits(dst, k.want) {
			t.Errorf("shift (%v, %v): %v, want %v", k.x, k.y, dst, k.want)
		}
	}
}

// Fails on a turn in the wrong direction or about another point, and radians that miss the quarter turn by an ulp,
// which would blend in a neighbour. A quarter turn clockwise moves row y, column x to row x, column side-1-y.
func TestQuarterTurns(t *testing.T) {
	for _, side := range []int{7, 8} {
		src := noise(2*side*side, random.Stream(1, "test"))
		want := append([]float32(nil), src...)
		for _, turn := range []float64{0, 90, 180, 270, 360, 450} {
			for _, degrees := range []float64{turn, turn - 720} {
				dst := make([]float32, len(src))
				distortion{rotate: degrees, scaleX: 1, scaleY: 1}.apply(dst, src, 2, side, side)
				if !sameBits(dst, want) {
					t.Errorf("side %d: a turn by %v degrees is not exact", side, degrees)
				}
			}
			next := make([]float32, len(src))
			for c := range 2 {
				for y := range side {
					for x := range side {
						next[(c*side+x)*side+side-1-y] = want[(c*side+y)*side+x]
					}
				}
			}
			want = next
		}
	}
}

// apply compared with a reference: the forward matrix is multiplied out and inverted, and every source pixel weighted by the product of
// two hat functions. Fails on a wrong inverse, a wrong order of the four steps, and lost or doubled edge pixels. Values
// are below 1 and four float32 products are summed: 1e-6 is above four roundings of 6e-8 each and of the weights.
func TestAffineAgainstReference(t *testing.T) {
	const channels, height, width = 2, 6, 9
	rng := random.Stream(2, "test")
	between := func(a, b float64) float64 { return a + (b-a)*rng.Float64() }
	for range 200 {
		d := distortion{
			rotate: between(-200, 200), shear: between(-40, 40), shiftX: between(-3, 3), shiftY: between(-3, 3),
			scaleX: between(0.5, 1.5), scaleY: between(0.5, 1.5),
		}
		src := noise(channels*height*width, rng)
		dst := noise(len(src), rng)
		d.apply(dst, src, channels, height, width)

		sin, cos := math.Sincos(d.rotate * math.Pi / 180)
		rh := [4]float64{cos, cos*math.Tan(d.shear*math.Pi/180) - sin, sin, sin*math.Tan(d.shear*math.Pi/180) + cos}
		m := [4]float64{rh[0] * d.scaleX, rh[1] * d.scaleY, rh[2] * d.scaleX, rh[3] * d.scaleY}
		det := m[0]*m[3] - m[1]*m[2]
		for at := range dst {
			c, y, x := at/(height*width), at/width%height, at%width
			px, py := float64(x)-4-d.shiftX, float64(y)-2.5-d.shiftY
			u, v := (m[3]*px-m[1]*py)/det+4, (m[0]*py-m[2]*px)/det+2.5
			var want float64
			for j := range height {
				for i := range width {
					weight := max(0, 1-math.Abs(u-float64(i))) * max(0, 1-math.Abs(v-float64(j)))
					want += weight * float64(src[(c*height+j)*width+i])
				}
			}
			if math.Abs(float64(dst[at])-want) > 1e-6 {
				t.Fatalf("%+v: pixel %d of channel %d is %v, want %v", d, at%(height*width), c, dst[at], want)
			}
		}
	}
}

// Fails on a draw that is skipped when its field is 0, which would move all draws after it.
func TestEveryApplyDrawsAlike(t *testing.T) {
	src, dst := make([]float32, 64), make([]float32, 64)
	var next [3]uint64
	for i, a := range []Affine{{}, {Rotate: 10, Shift: 1, Scale: 0.1, Shear: 5}, {Shear: 5}} {
		rng := random.Stream(1, "test")
		a.Apply(dst, src, 1, 8, 8, rng)
		next[i] = rng.Uint64()
	}
	if next[0] != next[1] || next[0] != next[2] {
		t.Errorf("the generator stands elsewhere: %v", next)
	}
}

// Fails on a field that is ignored, one-sided or exceeds its half-width, and two draws that are one. With 4000 draws
// the ends are missed by 1% of the range with probability e^-20 each; a correlation's deviation is 0.016.
func TestDrawsSpanTheirRanges(t *testing.T) {
	const n = 4000
	a := Affine{Rotate: 20, Shift: 3, Scale: 0.2, Shear: 7}
	rng := random.Stream(1, "test")
	var draws [n][6]float64 // in -1..1
	for i := range draws {
		d := a.draw(rng)
		draws[i] = [6]float64{d.rotate / 20, d.shiftX / 3, d.shiftY / 3, (d.scaleX - 1) / 0.2, (d.scaleY - 1) / 0.2, d.shear / 7}
	}
	for j := range 6 {
		least, most := 1.0, -1.0
		for i := range draws {
			least, most = min(least, draws[i][j]), max(most, draws[i][j])
		}
		if least > -0.99 || least < -1-1e-12 || most < 0.99 || most > 1+1e-12 {
			t.Errorf("draw %d spans %v to %v of its half-width", j, least, most)
		}
		for k := range j {
			var sum float64
			for i := range draws {
				sum += draws[i][j] * draws[i][k] * 3 // variance of a uniform draw: 1/3
			}
			if math.Abs(sum/n) > 0.08 {
				t.Errorf("draws %d and %d correlate: %.3f", k, j, sum/n)
			}
		}
	}
}

// Fails on distortions that would divide by zero or make NaN, and slices that don't fit.
func TestAffineMisuse(t *testing.T) {
	x, y := make([]float32, 64), make([]float32, 64)
	for name, f := range map[string]func(){
		"scale 1":  func() { Affine{Scale: 1}.Apply(x, y, 1, 8, 8, random.Stream(1, "test")) },
		"shear 90": func() { Affine{Shear: 90}.Apply(x, y, 1, 8, 8, random.Stream(1, "test")) },
		"negative": func() { Affine{Shift: -1}.Apply(x, y, 1, 8, 8, random.Stream(1, "test")) },
		"NaN":      func() { Affine{Rotate: math.NaN()}.Apply(x, y, 1, 8, 8, random.Stream(1, "test")) },
		"in place": func() { Affine{}.Apply(x, x, 1, 8, 8, random.Stream(1, "test")) },
		"length":   func() { Affine{}.Apply(x, y, 3, 8, 8, random.Stream(1, "test")) },
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

// A distortion of an 8×8 image with the seeding of its stream, as the feed does it.
func BenchmarkAffine(b *testing.B) {
	a := Affine{Rotate: 10, Shift: 1, Scale: 0.1, Shear: 5}
	src, dst := noise(64, random.Stream(1, "test")), make([]float32, 64)
	source := rand.NewChaCha8([32]byte{})
	rng := rand.New(source)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		source.Seed(random.Key(1, "augment", 0, i))
		a.Apply(dst, src, 1, 8, 8, rng)
	}
}
