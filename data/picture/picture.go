// Package picture decodes images to bytes, of any size, and resizes them. Preprocessing for training (normalised float32, of one size) is
// package data's business.
package picture

// Picture is a decoded image of any size. The zero Picture is ready to be filled; filling the same Picture again reuses its memory.
type Picture struct {
	Channels, Height, Width int
	Pix                     []uint8 // (channels, height, width), 0 is black

	// Want, if not nil, returns the plan for an image of that size. A decoder that can decodes only the plan's box, shrunk by a factor that
	// leaves at least the plan's height and width, and sets Cut.
	Want func(height, width int) Plan
	Cut  bool

	own []uint8 // the memory that Reset gives Pix
}

// Reset gives p that shape and its own memory, which is reused. The pixels are undefined.
func (p *Picture) Reset(channels, height, width int) {
	if channels <= 0 || height <= 0 || width <= 0 {
		panic("picture: a picture without pixels")
	}
	n := channels * height * width
	if cap(p.own) < n {
		p.own = make([]uint8, n)
	}
	p.Channels, p.Height, p.Width, p.Pix = channels, height, width, p.own[:n]
}

// Lend gives p that shape and the pixels of foreign memory, (channels, height, width), such as a mapped file: p is valid as long as that
// memory, and must not be written to before the next Reset.
func (p *Picture) Lend(channels, height, width int, pix []uint8) {
	if channels <= 0 || height <= 0 || width <= 0 || len(pix) != channels*height*width {
		panic("picture: lent pixels of another shape")
	}
	p.Channels, p.Height, p.Width, p.Pix = channels, height, width, pix
}

// Plane returns the pixels of channel c, (height, width).
func (p *Picture) Plane(c int) []uint8 {
	area := p.Height * p.Width
	return p.Pix[c*area : (c+1)*area]
}

// Floats writes the values of the bytes of each channel into dst, (channels, height, width), mirrored left to right if mirror: dst(c, y,
// x) = values[c][Pix(c, y, x)].
func (p *Picture) Floats(dst []float32, values [][256]float32, mirror bool) {
	area := p.Height * p.Width
	if len(values) != p.Channels || len(dst) != len(p.Pix) {
		panic("picture: values of another shape")
	}
	for c := range values {
		lookUp(dst[c*area:(c+1)*area], p.Plane(c), p.Width, mirror, &values[c])
	}
}
