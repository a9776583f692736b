package data

import (
	"fmt"
	"math"

	"lte/data/limit"
	"lte/random"
)

// Synthetic is the shape of a set of noise, for benchmarks: reading it costs nothing.
type Synthetic struct {
	Images, Classes, Channels, Height, Width int // each at least 1; Images of each split
}

// open makes the set, always the same.
func (y Synthetic) open() (*Set, error) {
	for _, k := range []struct {
		key      string
		is, most int
	}{{"images", y.Images, limit.Images}, {"classes", y.Classes, limit.Classes}, {"channels", y.Channels, limit.Pixels},
		{"height", y.Height, limit.Side}, {"width", y.Width, limit.Side}} {
		if k.is < 1 || k.is > k.most {
			return nil, &OptionError{Problem: fmt.Sprintf("synthetic.%s %d: expected 1 to %d", k.key, k.is, k.most)}
		}
	}
	if y.Channels > limit.Pixels/(y.Height*y.Width) {
		return nil, &OptionError{Problem: fmt.Sprintf("synthetic images of %d×%d pixels in %d channels, expected %d values at most: lower synthetic.channels, synthetic.height or synthetic.width",
			y.Width, y.Height, y.Channels, limit.Pixels)}
	}
	set := &Set{Name: "synthetic", Classes: y.Classes, Shape: Shape{y.Channels, y.Height, y.Width}}
	m := &noiseImages{y, make([]uint8, set.pixels()+starts)}
	set.Train, set.Test = m, m
	rng := random.Stream(0, "synthetic")
	for i := range m.pixels {
		m.pixels[i] = uint8(rng.Uint32())
	}
	for range y.Channels { // of uniformly distributed bytes
		set.Mean, set.Std = append(set.Mean, 0.5), append(set.Std, float32(math.Sqrt(1.0/12)))
	}
	return set, nil
}

// starts is the number of different images of a set of noise.
const starts = 4096

// noiseImages are images that begin at different offsets of the same bytes.
type noiseImages struct {
	Synthetic
	pixels []uint8 // (channels·height·width + starts)
}

func (n *noiseImages) Len() int        { return n.Images }
func (n *noiseImages) Label(i int) int { return i % n.Classes }
func (n *noiseImages) Picture(dst *Picture, i int) error {
	from := i % starts
	dst.Lend(n.Channels, n.Height, n.Width, n.pixels[from:from+n.Channels*n.Height*n.Width])
	return nil
}
