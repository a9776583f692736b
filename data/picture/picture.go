// Package picture decodes images, and holds them as they are decoded: bytes, of whatever size the file had. What becomes
// of them for training (normalised float32, of one size) is package data's business.
package picture

// Picture is an image as it was decoded, of its own size. The zero Picture is ready to be filled; filling one picture
// after another into the same Picture reuses its memory.
type Picture struct {
	Channels, Height, Width int
	Pix                     []uint8 // (channels, height, width), 0 is black

	// Want, where it is not nil, says what is to become of an image of that size. A decoder that is the faster for it
	// decodes the plan's box alone, shrunk while that leaves more than the plan's height and width, and sets Cut.
	Want func(height, width int) Plan
	Cut  bool

	own []uint8 // the memory that Reset gives Pix
}

// Reset makes p a picture of that shape in memory of its own, which it keeps from use to use. The pixels are whatever
// was there before.
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

// Lend makes p a picture of that shape whose pixels lie in memory of another, (channels, height, width), such as a
// mapped file: p may be read as long as that memory is there, and must not be written to before the next Reset.
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

// Floats writes what the bytes of each channel stand for into dst, (channels, height, width), mirrored left to right if
// that is wanted: dst(c, y, x) = values[c][Pix(c, y, x)].
func (p *Picture) Floats(dst []float32, values [][256]float32, mirror bool) {
	area := p.Height * p.Width
	if len(values) != p.Channels || len(dst) != len(p.Pix) {
		panic("picture: values of another shape")
	}
	for c := range values {
		lookUp(dst[c*area:(c+1)*area], p.Plane(c), p.Width, mirror, &values[c])
	}
}
