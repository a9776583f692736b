package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"lte/random"
)

// painted fills an image with random colours.
func painted[M interface {
	image.Image
	Set(x, y int, c color.Color)
}](m M, alpha uint8) M {
	rng := random.Stream(1, "test")
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			m.Set(x, y, color.NRGBA{uint8(rng.Uint32()), uint8(rng.Uint32()), uint8(rng.Uint32()), alpha})
		}
	}
	return m
}

func encoded(f func(*bytes.Buffer) error) string {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		panic(err)
	}
	return b.String()
}

// Every kind of image that the decoders return, compared with its pixels taken one by one from another decoder.
// Fails on a wrong stride or subsampling, exchanged channels, grey with a hue, and colours dimmed by transparency.
func TestFormatsAgainstSimpleTwin(t *testing.T) {
	const width, height = 13, 10
	r := image.Rect(0, 0, width, height)
	ycbcr := func(ratio image.YCbCrSubsampleRatio) string { // jpeg.Encode knows 4:2:0 and grey alone
		m := image.NewYCbCr(r, ratio)
		for i := range m.Y {
			m.Y[i] = uint8(31 * i)
		}
		for i := range m.Cb {
			m.Cb[i], m.Cr[i] = uint8(17*i), uint8(200-11*i)
		}
		return encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, m, nil) })
	}
	pngs := func(m image.Image) string {
		return encoded(func(b *bytes.Buffer) error { return png.Encode(b, m) })
	}
	for name, k := range map[string]string{
		"JPEG":            ycbcr(image.YCbCrSubsampleRatio444),
		"grey JPEG":       encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, painted(image.NewGray(r), 255), nil) }),
		"PNG":             pngs(painted(image.NewNRGBA(r), 255)),
		"grey PNG":        pngs(painted(image.NewGray(r), 255)),
		"16-bit PNG":      pngs(painted(image.NewRGBA64(r), 255)),
		"16-bit grey PNG": pngs(painted(image.NewGray16(r), 255)),
		"palette PNG":     pngs(painted(image.NewPaletted(r, palette.WebSafe), 255)),
		"clear PNG":       pngs(painted(image.NewNRGBA(r), 100)),
		"GIF":             encoded(func(b *bytes.Buffer) error { return gif.Encode(b, painted(image.NewNRGBA(r), 255), nil) }),
	} {
		var p Picture
		format, c, err := look([]byte(k))
		if err != nil {
			t.Fatal(err)
		}
		if err := format.decodeGo(&p, []byte(k), c); err != nil || p.Channels != 3 || p.Height != height || p.Width != width {
			t.Errorf("%s: %d×%d, %v", name, p.Width, p.Height, err)
			continue
		}
		got := p.Pix
		m, _, err := image.Decode(bytes.NewReader([]byte(k)))
		if err != nil {
			t.Fatal(err)
		}
		for y := range height {
			for x := range width {
				c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
				at := y*width + x
				if have := (color.NRGBA{got[at], got[width*height+at], got[2*width*height+at], c.A}); have != c {
					t.Fatalf("%s: pixel %d, %d is %v, want %v", name, x, y, have, c)
				}
			}
		}
	}
}

// All subsamplings of a colour image, taken from one that is a part of a larger one, as jpeg.Decode returns it.
func TestSubsampling(t *testing.T) {
	const width, height = 5, 3
	for ratio := image.YCbCrSubsampleRatio444; ratio <= image.YCbCrSubsampleRatio410; ratio++ {
		whole := image.NewYCbCr(image.Rect(0, 0, 16, 16), ratio)
		rng := random.Stream(1, "test")
		for _, plane := range [][]uint8{whole.Y, whole.Cb, whole.Cr} {
			for i := range plane {
				plane[i] = uint8(rng.Uint32())
			}
		}
		m := whole.SubImage(image.Rect(0, 0, width, height))
		var p Picture
		p.Reset(3, height, width)
		p.setImage(m)
		got := p.Pix
		for at := range width * height {
			r, g, b, _ := m.At(at%width, at/width).RGBA()
			if got[at] != uint8(r>>8) || got[15+at] != uint8(g>>8) || got[30+at] != uint8(b>>8) {
				t.Fatalf("%v: pixel %d is %v %v %v, want %v %v %v", ratio, at, got[at], got[15+at], got[30+at], r>>8, g>>8, b>>8)
			}
		}
	}
}

// Fails if the first frame of a GIF, smaller than its canvas, is read at the wrong position, or beyond its end.
func TestFrameWithinCanvas(t *testing.T) {
	m := image.NewPaletted(image.Rect(1, 1, 3, 2), color.Palette{color.White, color.Black})
	k := encoded(func(b *bytes.Buffer) error {
		return gif.EncodeAll(b, &gif.GIF{Image: []*image.Paletted{m}, Delay: []int{0}, Config: image.Config{Width: 4, Height: 3}})
	})
	p := Picture{own: bytes.Repeat([]byte{7}, 36)}
	if err := Decode(&p, []byte(k)); err != nil || p.Height != 3 || p.Width != 4 {
		t.Fatal(p.Width, p.Height, err)
	}
	for i, v := range p.Pix {
		white := i%12 == 5 || i%12 == 6
		if (v == 255) != white || !white && v != 0 {
			t.Errorf("value %d is %d", i, v)
		}
	}
}
