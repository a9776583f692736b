package data

import (
	"fmt"
	"math"

	"lte/random"
)

// Synthetic is the shape of a set of noise, for benchmarks: reading it costs nothing.
type Synthetic struct {
	Images, Classes, Channels, Height, Width int // each at least 1; Images are those of train, for test there are as many
}

// open makes the set, the same one always.
func (y Synthetic) open() (*Set, error) {
	for _, k := range []struct {
		key string
		is  int
	}{{"images", y.Images}, {"classes", y.Classes}, {"channels", y.Channels}, {"height", y.Height}, {"width", y.Width}} {
		if k.is < 1 || k.is > math.MaxInt32 {
			return nil, fmt.Errorf("synthetic.%s %d: expected 1 at least; correct synthetic.%s", k.key, k.is, k.key)
		}
	}
	if y.Height > math.MaxInt32/y.Width || y.Channels > math.MaxInt32/(y.Height*y.Width) {
		return nil, fmt.Errorf("synthetic images of %d×%d pixels in %d channels: too large; correct synthetic.height and synthetic.width", y.Width, y.Height, y.Channels)
	}
	pixels := y.Channels * y.Height * y.Width
	m := &static{Synthetic: y, pixels: make([]uint8, pixels+starts)}
	rng := random.Stream(0, "synthetic")
	for i := range m.pixels {
		m.pixels[i] = uint8(rng.Uint32())
	}
	set := &Set{Name: "synthetic", Classes: y.Classes, Channels: y.Channels, Height: y.Height, Width: y.Width, Train: m, Test: m}
	for range y.Channels { // of bytes that are all as likely
		set.Mean, set.Std = append(set.Mean, 0.5), append(set.Std, float32(math.Sqrt(1.0/12)))
	}
	return set, nil
}

// starts is how many images of a set of noise are different.
const starts = 4096

// static is images that begin at one place or another of the same bytes.
type static struct {
	Synthetic
	pixels []uint8 // (channels·height·width + starts)
}

func (n *static) Len() int        { return n.Images }
func (n *static) Label(i int) int { return i % n.Classes }
func (n *static) Picture(dst *Picture, i int) error {
	from := i % starts
	dst.Lend(n.Channels, n.Height, n.Width, n.pixels[from:from+n.Channels*n.Height*n.Width])
	return nil
}
