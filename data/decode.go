package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// format is an image format that can be read.
type format struct {
	name   string
	magic  []string // what a file of it begins with
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var formats = []format{
	{"JPEG", []string{"\xff\xd8\xff"}, jpeg.DecodeConfig, jpeg.Decode},
	{"PNG", []string{"\x89PNG\r\n\x1a\n"}, png.DecodeConfig, png.Decode},
	{"GIF", []string{"GIF87a", "GIF89a"}, gif.DecodeConfig, gif.Decode},
}

// formatOf knows a format by its content, for names lie.
func formatOf(encoded []byte) (*format, error) {
	for i := range formats {
		for _, magic := range formats[i].magic {
			if bytes.HasPrefix(encoded, []byte(magic)) {
				return &formats[i], nil
			}
		}
	}
	if len(encoded) == 0 {
		return nil, errors.New("an empty file, expected a JPEG, PNG or GIF image: copy it again, or remove it")
	}
	return nil, fmt.Errorf("begins with %q, expected a JPEG, PNG or GIF image: convert or remove it", encoded[:min(8, len(encoded))])
}

func (k *format) unreadable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("the file ends too early, expected a whole %s image: %w; copy it again, or remove it", k.name, err)
	}
	return fmt.Errorf("expected a sound %s image: %w; copy it again, or remove it", k.name, err)
}

// content returns the encoded image.
func (f *file) content() ([]byte, error) {
	if f.encoded != nil {
		return f.encoded, nil
	}
	encoded, err := os.ReadFile(f.name)
	if err != nil {
		if e := new(os.PathError); errors.As(err, &e) {
			err = e.Err // its name is said already
		}
		return nil, fmt.Errorf("%w; expected an image that can be read: correct its permissions, or remove it", err)
	}
	return encoded, nil
}

// sizeOf returns the size of an image. Errors of it and of decode don't say the file's name.
func sizeOf(f *file) (height, width int, err error) {
	encoded, err := f.content()
	if err != nil {
		return 0, 0, err
	}
	k, err := formatOf(encoded)
	if err != nil {
		return 0, 0, err
	}
	c, err := k.config(bytes.NewReader(encoded))
	if err == nil && (c.Height <= 0 || c.Width <= 0) {
		err = fmt.Errorf("it has %d×%d pixels", c.Width, c.Height)
	}
	if err != nil {
		return 0, 0, k.unreadable(err)
	}
	return c.Height, c.Width, nil
}

// decodeAll decodes every file, on all cores, into what dst returns for its index: (3, height, width). Of several
// errors it returns that of the first file, whichever core came upon one first.
func decodeAll(files []file, height, width int, dst func(i int) []uint8) error {
	var next atomic.Int64
	var mutex sync.Mutex
	failed, failure := len(files), error(nil)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		workers.Go(func() {
			var d decoder
			for {
				// Indices are handed out in order, so the files before one that fails are all taken, and are finished.
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				f := &files[i]
				err := caught(func() error { return d.decode(dst(i), f, height, width, files[0].name) })
				f.encoded = nil // read: make room
				if err != nil {
					mutex.Lock()
					if i < failed {
						failed, failure = i, fmt.Errorf("%s: %w", f.name, err)
					}
					mutex.Unlock()
					next.Store(int64(len(files)))
				}
			}
		})
	}
	workers.Wait()
	return failure
}

// decoder holds what decoding one image after another can use again.
type decoder struct{ reader bytes.Reader }

// decode writes a file's image, (3, height, width), into dst. Its size is looked at first: an image of another one may
// be too large to decode.
func (d *decoder) decode(dst []uint8, f *file, height, width int, first string) error {
	encoded, err := f.content()
	if err != nil {
		return err
	}
	k, err := formatOf(encoded)
	if err != nil {
		return err
	}
	d.reader.Reset(encoded)
	c, err := k.config(&d.reader)
	if err != nil {
		return k.unreadable(err)
	}
	if c.Height != height || c.Width != width {
		return fmt.Errorf("an image of %d×%d pixels, expected %d×%d like %s: there is no resizing yet, so bring all images to one size",
			c.Width, c.Height, width, height, first)
	}
	d.reader.Reset(encoded)
	m, err := k.decode(&d.reader)
	if err != nil {
		return k.unreadable(err)
	}
	toPlanes(dst, m, height, width)
	return nil
}

// toPlanes writes the red, green and blue plane of an image into dst, (3, height, width). What a GIF's first frame
// leaves of its canvas is black. The colours of transparent pixels are those they would have if they were not, as PIL's
// convert("RGB") gives them.
func toPlanes(dst []uint8, m image.Image, height, width int) {
	area := height * width
	r, g, b := dst[:area], dst[area:2*area], dst[2*area:3*area]
	canvas := image.Rect(0, 0, width, height)
	if m.Bounds() == canvas {
		switch m := m.(type) {
		case *image.YCbCr: // JPEG
			for y := range height {
				for x := range width {
					i, j := m.YOffset(x, y), m.COffset(x, y)
					at := y*width + x
					r[at], g[at], b[at] = color.YCbCrToRGB(m.Y[i], m.Cb[j], m.Cr[j])
				}
			}
			return
		case *image.Gray:
			for y := range height {
				copy(r[y*width:(y+1)*width], m.Pix[y*m.Stride:])
			}
			copy(g, r)
			copy(b, r)
			return
		case *image.RGBA: // of the decoders here, always opaque
			interleaved(r, g, b, m.Pix, m.Stride, height, width)
			return
		case *image.NRGBA:
			interleaved(r, g, b, m.Pix, m.Stride, height, width)
			return
		}
	}
	clear(dst)
	within := m.Bounds().Intersect(canvas)
	for y := within.Min.Y; y < within.Max.Y; y++ {
		for x := within.Min.X; x < within.Max.X; x++ {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			at := y*width + x
			r[at], g[at], b[at] = c.R, c.G, c.B
		}
	}
}

// interleaved takes pixels of four bytes, red, green, blue and alpha, apart.
func interleaved(r, g, b, pixels []uint8, stride, height, width int) {
	for y := range height {
		row := pixels[y*stride:]
		for x := range width {
			at := y*width + x
			r[at], g[at], b[at] = row[4*x], row[4*x+1], row[4*x+2]
		}
	}
}
