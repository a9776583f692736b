package data

import (
	"slices"
	"testing"

	"lte/data/transform"
	"lte/random"
)

// ColourJitter compared with torchvision's ColorJitter: factors uniform in max(0, 1-x)..1+x, each with its own draw, in random order. A
// disabled operation changes neither the others nor later draws.
func TestColourJitterEqualsTorchvision(t *testing.T) {
	all := ColourJitter{Brightness: 0.4, Contrast: 0.3, Saturation: 1.5}
	functions := []func(dst, src *Picture, factor float64){transform.Brightness, transform.Contrast, transform.Saturation}
	first := map[int]bool{}
	for i := range uint64(100) {
		rng := random.Stream(1, "test", i)
		order := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}[rng.IntN(6)]
		factors := []float64{0.6 + 0.8*rng.Float64(), 0.7 + 0.6*rng.Float64(), 2.5 * rng.Float64()}
		next := rng.Uint64()
		first[order[0]*3+order[1]] = true
		for off, j := range []ColourJitter{{0, all.Contrast, all.Saturation}, {all.Brightness, 0, all.Saturation}, {all.Brightness, all.Contrast, 0}, all} {
			stream := random.Stream(1, "test", i)
			got := painted(func(p *transformed) { j.apply(p, stream) })
			want := painted(func(p *transformed) {
				for _, k := range order {
					if k != off {
						p.apply(func(dst, src *Picture) { functions[k](dst, src, factors[k]) })
					}
				}
			})
			for at := range want.Pix {
				if d := int(got.Pix[at]) - int(want.Pix[at]); d < -1 || d > 1 { // the last bit of a factor may differ
					t.Fatalf("image %d, operation %d off: byte %d is %d, want %d", i, off, at, got.Pix[at], want.Pix[at])
				}
			}
			if stream.Uint64() != next {
				t.Fatalf("image %d, operation %d off: the stream stands elsewhere", i, off)
			}
		}
	}
	if len(first) != 6 {
		t.Errorf("%d orders of 6", len(first))
	}
	grey := &Picture{}
	grey.Lend(1, 2, 2, []uint8{0, 100, 200, 255})
	changing := &transformed{picture: grey}
	ColourJitter{Saturation: 5}.apply(changing, random.Stream(1, "test"))
	if !slices.Equal(changing.picture.Pix, grey.Pix) {
		t.Errorf("a grey picture saturated is %v", changing.picture.Pix)
	}
}
