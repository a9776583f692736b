package picture

import (
	"bytes"
	"encoding/binary"
)

// Orientations of a picture in its file (EXIF 2.32, tag 0x0112). From transposed on, width and height are exchanged.
const (
	upright     = 1
	mirrored    = 2
	halfTurn    = 3
	flipped     = 4
	transposed  = 5
	quarterTurn = 6 // rotate clockwise to display
	transverse  = 7
	threeTurns  = 8
)

// orientation returns the EXIF orientation of a JPEG; upright where it has none, or an invalid one.
func orientation(jpeg []byte) int {
	for marker, content := range segments(jpeg) {
		if marker == startOfScan[1] { // the headers end here
			break
		}
		if exif, ok := bytes.CutPrefix(content, []byte("Exif\x00\x00")); marker == 0xe1 && ok {
			return orientationTag(exif)
		}
	}
	return upright
}

// orientationTag reads the tag from the first directory of a TIFF file.
func orientationTag(tiff []byte) int {
	if len(tiff) < 8 {
		return upright
	}
	var order binary.ByteOrder = binary.LittleEndian
	if string(tiff[:2]) == "MM" {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return upright
	}
	const entry = 12 // bytes: tag, type, count, value
	for n := order.Uint16(tiff[at:]); n > 0; n-- {
		from := at + 2 + entry*uint64(n-1)
		if from+entry > uint64(len(tiff)) {
			continue
		}
		e := tiff[from:]
		const tag, short = 0x0112, 3
		if order.Uint16(e) == tag && order.Uint16(e[2:]) == short {
			if v := int(order.Uint16(e[8:])); v >= upright && v <= threeTurns {
				return v
			}
		}
	}
	return upright
}

// orient rotates or mirrors a picture with that orientation to upright.
func (p *Picture) orient(orientation int) {
	if orientation == upright {
		return
	}
	height, width := p.Height, p.Width
	if orientation >= transposed {
		height, width = width, height
	}
	fromBottom := orientation == halfTurn || orientation == flipped || orientation == quarterTurn || orientation == transverse
	fromRight := orientation == mirrored || orientation == halfTurn || orientation == transverse || orientation == threeTurns
	var upright Picture
	upright.Reset(p.Channels, height, width)
	for c := range p.Channels {
		dst, src := upright.Plane(c), p.Plane(c)
		for y := range height {
			for x := range width {
				// Row and column in the file of the pixel at y, x.
				row, column := y, x
				if orientation >= transposed {
					row, column = x, y
				}
				if fromBottom {
					row = p.Height - 1 - row
				}
				if fromRight {
					column = p.Width - 1 - column
				}
				dst[y*width+x] = src[row*p.Width+column]
			}
		}
	}
	upright.Want = p.Want
	*p = upright
}
