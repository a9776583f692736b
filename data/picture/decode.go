package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"lte/data/limit"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// format is an image format that can be read.
type format struct {
	name   string
	is     func(encoded []byte) bool
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// begins knows a format by what its files begin with.
func begins(magic ...string) func([]byte) bool {
	return func(encoded []byte) bool {
		for _, m := range magic {
			if bytes.HasPrefix(encoded, []byte(m)) {
				return true
			}
		}
		return false
	}
}

var formats = []format{
	{"JPEG", begins("\xff\xd8\xff"), jpeg.DecodeConfig, jpeg.Decode},
	{"PNG", begins("\x89PNG\r\n\x1a\n"), png.DecodeConfig, png.Decode},
	{"GIF", begins("GIF87a", "GIF89a"), gif.DecodeConfig, gif.Decode},
	{"BMP", begins("BM"), bmp.DecodeConfig, bmp.Decode},
	{"WebP", func(e []byte) bool { return len(e) >= 12 && string(e[:4]) == "RIFF" && string(e[8:12]) == "WEBP" }, webp.DecodeConfig, webp.Decode},
}

// Decode decodes an image: JPEG, PNG, GIF (its first frame), BMP or WebP, known by its content, for names lie. It becomes
// RGB, (3, height, width): grey thrice, CMYK as its inks mix, of 16 bits the upper 8, transparency dropped. A JPEG is
// turned as its EXIF orientation says. Errors say about where in the file, and not its name. What is beyond package limit is
// refused before memory is given to its pixels.
func Decode(dst *Picture, encoded []byte) error {
	k, c, err := look(encoded)
	if err == nil {
		err = k.within(c, encoded)
	}
	if err != nil {
		return err
	}
	dst.Cut = false
	turned := upright
	if k.name == "JPEG" {
		turned = orientation(encoded)
		err = decodeJPEG(dst, encoded, turned == upright && bytes.HasSuffix(encoded, endOfImage))
	}
	if k.name != "JPEG" || err == errNoJPEG {
		err = k.plain(dst, encoded, c)
	}
	if err != nil {
		return k.unreadable(err)
	}
	dst.orient(turned)
	return nil
}

// endOfImage is the marker at the end of a JPEG. A file that ends otherwise may be cut off, which a decoder of a piece of the
// image need not come upon: it is decoded whole.
var endOfImage = []byte("\xff\xd9")

// plain decodes by Go's own decoders.
func (k *format) plain(dst *Picture, encoded []byte, c image.Config) error {
	m, err := read(k.decode, encoded)
	if err != nil {
		return err
	}
	dst.Reset(3, c.Height, c.Width)
	if planes := lossy(m); planes != nil && k.name == "WebP" {
		dst.setVideo(planes)
	} else {
		dst.setImage(m)
	}
	return nil
}

// endsEarly is an error of a file that is cut off.
type endsEarly struct{ text string }

func (e *endsEarly) Error() string { return e.text }

// Is makes it one of the errors that readers return where a file ends.
func (e *endsEarly) Is(err error) bool { return err == io.ErrUnexpectedEOF }

// Size returns the size that Decode would give an image, from its header alone.
func Size(encoded []byte) (height, width int, err error) {
	k, c, err := look(encoded)
	if err != nil {
		return 0, 0, err
	}
	if k.name == "JPEG" && orientation(encoded) >= transposed {
		return c.Width, c.Height, nil
	}
	return c.Height, c.Width, nil
}

// look returns the format of an image and what its header says.
func look(encoded []byte) (*format, image.Config, error) {
	for i := range formats {
		k := &formats[i]
		if !k.is(encoded) {
			continue
		}
		c, err := read(k.config, encoded)
		if err == nil && (c.Height <= 0 || c.Width <= 0 || c.Height > limit.Side || c.Width > limit.Side || c.Height > limit.Pixels/c.Width) {
			err = fmt.Errorf("it has %d×%d pixels, expected one at least, %d at most, and a side of %d at most", c.Width, c.Height, limit.Pixels, limit.Side)
		}
		if err != nil {
			err = k.unreadable(err)
		}
		return k, c, err
	}
	if len(encoded) == 0 {
		return nil, image.Config{}, errors.New("an empty file, expected a JPEG, PNG, GIF, BMP or WebP image: copy it again, or remove it")
	}
	return nil, image.Config{}, fmt.Errorf("begins with %q, expected a JPEG, PNG, GIF, BMP or WebP image: convert or remove it", encoded[:min(8, len(encoded))])
}

// within refuses an image that is small as a file and takes much memory or time to decode.
func (k *format) within(c image.Config, encoded []byte) error {
	if most := limit.ImagePixels(len(encoded)); c.Height*c.Width > most {
		return fmt.Errorf("a %s image of %d×%d pixels in %d bytes, expected %d pixels at most in so few: the file ends too early, or is made to exhaust memory; copy it again, or remove it",
			k.name, c.Width, c.Height, len(encoded), most)
	}
	if k.name != "JPEG" || bytes.Count(encoded, startOfScan) <= limit.Scans {
		return nil
	}
	if n := scans(encoded); n > limit.Scans { // not all of those bytes need be markers
		return fmt.Errorf("a JPEG image of %d scans, expected %d at most: encode it again, or remove it", n, limit.Scans)
	}
	return nil
}

// startOfScan is the marker before each scan of a JPEG (ITU-T T.81, B.1.1.3).
var startOfScan = []byte("\xff\xda")

// scans counts the scans of a JPEG.
func scans(jpeg []byte) (n int) {
	for at := 2; at+4 <= len(jpeg); {
		if jpeg[at] != 0xff { // of a scan
			next := bytes.IndexByte(jpeg[at:], 0xff)
			if next < 0 {
				break
			}
			at += next
			continue
		}
		switch marker := jpeg[at+1]; {
		case marker == 0xff: // a byte to fill up
			at++
		case marker == 0x00 || marker == 0x01 || marker >= 0xd0 && marker <= 0xd9: // no segment follows
			at += 2
		default:
			if marker == startOfScan[1] {
				n++
			}
			at += 2 + int(binary.BigEndian.Uint16(jpeg[at+2:]))
		}
	}
	return n
}

func (k *format) unreadable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("the file ends too early, expected a whole %s image: %w; copy it again, or remove it", k.name, err)
	}
	return fmt.Errorf("expected a sound %s image: %w; copy it again, or remove it", k.name, err)
}

// read gives a decoder the bytes of a file. An error says how far it came.
func read[T any](decode func(io.Reader) (T, error), encoded []byte) (T, error) {
	r := bytes.NewReader(encoded)
	decoded, err := decode(r)
	if err != nil {
		err = near(len(encoded)-r.Len(), err)
	}
	return decoded, err
}

// near is an error that says where in the file it came up.
func near(at int, err error) error { return fmt.Errorf("near byte %d: %w", at, err) }
