package picture

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

func noise(channels, height, width int) *Picture {
	rng := rand.New(rand.NewPCG(uint64(height), uint64(width)))
	p := &Picture{}
	p.Reset(channels, height, width)
	for i := range p.Pix {
		p.Pix[i] = uint8(rng.Uint32())
	}
	return p
}

// Resize compared with Pillow, within 1 level, over regions at every edge, shrunk and enlarged, for both filters; the file is made by
// tools/golden_pillow.py. Fails if a kernel or its stretch differs, if a centre is off, if pixels outside of the region have an
// influence, or if sums wrap around instead of being clipped.
func TestResizeAgainstPillow(t *testing.T) {
	file, err := os.ReadFile("testdata/pillow.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Height, Width int
		Pixels        []byte
		Resized       []struct {
			Box    [4]int
			Size   [2]int
			Filter string
			Pixels []byte
		}
	}
	if err := json.Unmarshal(file, &golden); err != nil || len(golden.Resized) < 16 {
		t.Fatalf("%d cases, %v", len(golden.Resized), err)
	}
	src, got, piece, r := &Picture{}, &Picture{}, &Picture{}, &Resizer{}
	src.Lend(3, golden.Height, golden.Width, golden.Pixels)
	differ := 0
	for _, k := range golden.Resized {
		f := map[string]Filter{"bicubic": Bicubic, "bilinear": Bilinear}[k.Filter]
		whole := Plan{Box{k.Box[0], k.Box[1], k.Box[2], k.Box[3]}, k.Size[0], k.Size[1], Full(k.Size[0], k.Size[1])}
		r.Resize(got, src, whole, f)
		for i, v := range got.Pix {
			d := int(v) - int(k.Pixels[i])
			if d < -1 || d > 1 {
				t.Fatalf("%v of %v, %s: value %d is %d, Pillow's %d", k.Size, k.Box, k.Filter, i, v, k.Pixels[i])
			}
			if d != 0 {
				differ++
			}
		}
		// A part alone is that part of the whole, but for what its weights are rounded to.
		part := whole
		part.Crop = Box{k.Size[0] / 3, k.Size[1] / 4, (k.Size[0] + 1) / 2, (k.Size[1] + 1) / 2}
		r.Resize(piece, src, part, f)
		for c := range 3 {
			for y := range part.Crop.Height {
				line := got.Plane(c)[(part.Crop.Top+y)*k.Size[1]+part.Crop.Left:][:part.Crop.Width]
				for x, v := range piece.Plane(c)[y*part.Crop.Width:][:part.Crop.Width] {
					if d := int(v) - int(line[x]); d < -1 || d > 1 {
						t.Fatalf("%+v, %s: row %d of channel %d is not that of the whole", part, k.Filter, y, c)
					}
				}
			}
		}
	}
	t.Logf("%d values differ by 1", differ)
}

// Fails if a region of the requested size, or a part of it, is not copied, or if a constant area changes: weights must sum to exactly 1.
func TestResizeToTheSameSizeCopies(t *testing.T) {
	src, got, r := noise(3, 9, 12), &Picture{}, &Resizer{}
	r.Resize(got, src, Plan{Box{2, 3, 5, 7}, 5, 7, Full(5, 7)}, Bicubic)
	for c := range 3 {
		for y := range 5 {
			if !slices.Equal(got.Plane(c)[y*7:(y+1)*7], src.Plane(c)[(y+2)*12+3:][:7]) {
				t.Fatalf("row %d of channel %d is another", y, c)
			}
		}
	}
	r.Resize(got, src, Plan{Box{2, 3, 5, 7}, 5, 7, Box{1, 2, 3, 4}}, Bicubic)
	for y := range 3 {
		if !slices.Equal(got.Plane(0)[y*4:(y+1)*4], src.Plane(0)[(y+3)*12+5:][:4]) {
			t.Fatalf("row %d of a part is another", y)
		}
	}
	for i := range src.Pix {
		src.Pix[i] = 201
	}
	for _, size := range []int{1, 4, 13, 100} {
		r.Resize(got, src, Plan{Full(9, 12), size, 2 * size, Full(size, 2*size)}, Bicubic)
		if slices.Min(got.Pix) != 201 || slices.Max(got.Pix) != 201 {
			t.Fatalf("%d: a plain picture has %d to %d", size, slices.Min(got.Pix), slices.Max(got.Pix))
		}
		for i := range r.across.out {
			sum := 0
			for _, w := range r.across.weight[i*r.across.taps : (i+1)*r.across.taps] {
				sum += int(w)
			}
			if sum != 1<<r.across.shift {
				t.Fatalf("%d: weights of value %d sum to %d, want %d", size, i, sum, 1<<r.across.shift)
			}
		}
	}
}

// resampled returns the values of a line by the definition of a's weights; value returns value i of the original line.
func resampled(a *axis, value func(i int) uint8) []uint8 {
	out := make([]uint8, a.out)
	for i := range out {
		sum := 1 << (a.shift - 1)
		for k, w := range a.weight[i*a.taps : (i+1)*a.taps] {
			sum += int(w) * int(value(int(a.start[i])+k))
		}
		out[i] = uint8(min(max(sum>>a.shift, 0), 255))
	}
	return out
}

// The passes compared with their definition, bit for bit, with sizes that are no multiples of the blocks of rows, weights and lanes.
// Fails if a lane, a row or a weight is left out or taken from a neighbour, or if a sum is cut at another place.
func TestPassesAgainstTheirDefinition(t *testing.T) {
	for _, size := range [][4]int{{9, 11, 5, 4}, {31, 70, 13, 129}, {64, 64, 224, 224}, {7, 3, 20, 65}, {100, 257, 64, 64}, {1, 1, 3, 2}, {300, 8, 7, 8}, {5, 900, 5, 9}} {
		for _, f := range []Filter{Bicubic, Bilinear} {
			src := noise(1, size[0], size[1])
			var x, y axis
			x.set(line{0, src.Width, src.Width, size[3], 0, size[3], 8, f})
			y.set(line{0, src.Height, src.Height, size[2], 0, size[2], 1, f})
			rows := make([]uint8, src.Height*size[3])
			across(rows, src.Pix, src.Width, &x)
			for row := range src.Height {
				if want := resampled(&x, func(i int) uint8 { return src.Pix[row*src.Width+i] }); !slices.Equal(rows[row*size[3]:(row+1)*size[3]], want) {
					t.Errorf("%v, filter %d: row %d differs", size, f, row)
				}
			}
			out := make([]uint8, size[2]*size[3])
			down(out, rows, size[3], 0, &y)
			for column := range size[3] {
				for i, want := range resampled(&y, func(i int) uint8 { return rows[i*size[3]+column] }) {
					if got := out[i*size[3]+column]; got != want {
						t.Fatalf("%v, filter %d: row %d, column %d is %d, want %d", size, f, i, column, got, want)
					}
				}
			}
		}
	}
}

// Fails if a row is mirrored into another, or a value is looked up in another channel's table.
func TestFloatsLooksUpEveryValue(t *testing.T) {
	p, values := noise(3, 5, 7), make([][256]float32, 3)
	for c := range values {
		for v := range values[c] {
			values[c][v] = float32(1000*c + v)
		}
	}
	for _, mirror := range []bool{false, true} {
		got := make([]float32, 105)
		p.Floats(got, values, mirror)
		for i, v := range p.Pix {
			at := i
			if mirror {
				at = i/7*7 + 6 - i%7
			}
			if want := float32(1000*(i/35) + int(v)); got[at] != want {
				t.Errorf("mirror %v: value %d is %v, want %v", mirror, at, got[at], want)
			}
		}
	}
}

func BenchmarkResize(b *testing.B) {
	src, dst, r := noise(3, 256, 341), &Picture{}, &Resizer{}
	for i := 0; b.Loop(); i++ {
		r.Resize(dst, src, Plan{Box{20, 30 + i%2, 200, 190}, 224, 224, Full(224, 224)}, Bicubic)
	}
}

func BenchmarkFloats(b *testing.B) {
	p, dst, values := noise(3, 224, 224), make([]float32, 3*224*224), make([][256]float32, 3)
	for b.Loop() {
		p.Floats(dst, values, true)
	}
}
