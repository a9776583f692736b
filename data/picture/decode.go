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
	"iter"

	"lte/data/limit"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// format is a supported image format.
type format struct {
	name   string
	is     func(encoded []byte) bool
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// begins recognizes a format by the first bytes of a file.
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

// Decode decodes a JPEG, PNG, GIF (its first frame), BMP or WebP image, recognized by its content, to RGB, (3, height, width): grey
// values are repeated, CMYK is converted, 16-bit values are truncated to 8 bits, transparency is dropped. A JPEG is rotated by its EXIF
// orientation. Errors give an approximate position in the file, but not its name. Anything beyond package limit is refused before memory
// is allocated.
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
		err = k.decodeGo(dst, encoded, c)
	}
	if err != nil {
		return k.unreadable(err)
	}
	dst.orient(turned)
	return nil
}

// endOfImage is the marker at the end of a JPEG. A file without it may be truncated, which decoding of a region need not detect: it is
// decoded completely.
var endOfImage = []byte("\xff\xd9")

// decodeGo decodes with Go's decoders.
func (k *format) decodeGo(dst *Picture, encoded []byte, c image.Config) error {
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

// endsEarly is the error of a truncated file.
type endsEarly struct{ text string }

func (e *endsEarly) Error() string { return e.text }

// Is makes it an io.ErrUnexpectedEOF.
func (e *endsEarly) Is(err error) bool { return err == io.ErrUnexpectedEOF }

// Size returns the size of the decoded image, from its header alone.
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

// look returns the format of an image and its header.
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

// within refuses a small file that needs much memory or time to decode.
func (k *format) within(c image.Config, encoded []byte) error {
	if most := limit.ImagePixels(len(encoded)); c.Height*c.Width > most {
		return fmt.Errorf("a %s image of %d×%d pixels in %d bytes, expected %d pixels at most in so few: the file ends too early, or is made to exhaust memory; copy it again, or remove it",
			k.name, c.Width, c.Height, len(encoded), most)
	}
	if k.name != "JPEG" || bytes.Count(encoded, startOfScan) <= limit.Scans {
		return nil
	}
	if n := scans(encoded); n > limit.Scans { // some of those bytes may not be markers
		return fmt.Errorf("a JPEG image of %d scans, expected %d at most: encode it again, or remove it", n, limit.Scans)
	}
	return nil
}

// startOfScan is the marker before each scan of a JPEG (ITU-T T.81, B.1.1.3).
var startOfScan = []byte("\xff\xda")

// segments iterates over the markers of a JPEG and their segments' contents (ITU-T T.81, B.1.1.4), skipping entropy-coded data. Segments
// that are longer than the file are cut.
func segments(jpeg []byte) iter.Seq2[byte, []byte] {
	return func(yield func(marker byte, content []byte) bool) {
		for at := 2; at+4 <= len(jpeg); {
			if jpeg[at] != 0xff { // entropy-coded data of a scan
				next := bytes.IndexByte(jpeg[at:], 0xff)
				if next < 0 {
					return
				}
				at += next
				continue
			}
			switch marker := jpeg[at+1]; {
			case marker == 0xff: // a fill byte
				at++
			case marker == 0x00 || marker == 0x01 || marker >= 0xd0 && marker <= 0xd9: // no segment follows
				at += 2
			default:
				end := at + 2 + int(binary.BigEndian.Uint16(jpeg[at+2:]))
				if !yield(marker, jpeg[min(at+4, end):min(end, len(jpeg))]) {
					return
				}
				at = end
			}
		}
	}
}

// scans counts the scans of a JPEG.
func scans(jpeg []byte) (n int) {
	for marker := range segments(jpeg) {
		if marker == startOfScan[1] {
			n++
		}
	}
	return n
}

func (k *format) unreadable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("the file ends too early, expected a complete %s image: %w; copy it again, or remove it", k.name, err)
	}
	return fmt.Errorf("expected a valid %s image: %w; copy it again, or remove it", k.name, err)
}

// read calls a decoder. An error gives the position reached.
func read[T any](decode func(io.Reader) (T, error), encoded []byte) (T, error) {
	r := bytes.NewReader(encoded)
	decoded, err := decode(r)
	if err != nil {
		err = near(len(encoded)-r.Len(), err)
	}
	return decoded, err
}

// near adds the approximate position in the file to an error.
func near(at int, err error) error { return fmt.Errorf("near byte %d: %w", at, err) }
