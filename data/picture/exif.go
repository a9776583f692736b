package picture

import (
	"bytes"
	"encoding/binary"
)

// How a picture lies in its file (EXIF 2.32, tag 0x0112): where its row 0 and its column 0 are to be seen. From transposed
// on width and height change places.
const (
	upright     = 1
	mirrored    = 2
	halfTurn    = 3
	flipped     = 4
	transposed  = 5
	quarterTurn = 6 // turn it clockwise to see it upright
	transverse  = 7
	threeTurns  = 8
)

// orientation returns the EXIF orientation of a JPEG; upright where it has none, or none that makes sense.
func orientation(jpeg []byte) int {
	for at := 2; at+4 <= len(jpeg) && jpeg[at] == 0xff; {
		marker, size := jpeg[at+1], int(binary.BigEndian.Uint16(jpeg[at+2:]))
		if marker == 0xff { // a byte to fill up
			at++
			continue
		}
		end := at + 2 + size
		if marker == 0xda || size < 2 || end > len(jpeg) { // the scan: no more headers
			break
		}
		if exif, ok := bytes.CutPrefix(jpeg[at+4:end], []byte("Exif\x00\x00")); marker == 0xe1 && ok {
			return orientationTag(exif)
		}
		at = end
	}
	return upright
}

// orientationTag looks the tag up in the first directory of a TIFF file.
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

// orient turns a picture that lies as an orientation says upright.
func (p *Picture) orient(orientation int) {
	if orientation == upright {
		return
	}
	height, width := p.Height, p.Width
	if orientation >= transposed {
		height, width = width, height
	}
	var upright Picture
	upright.Reset(p.Channels, height, width)
	for c := range p.Channels {
		dst, src := upright.Plane(c), p.Plane(c)
		for y := range height {
			for x := range width {
				// Row and column of the file that are seen at y, x.
				row, column := y, x
				switch orientation {
				case mirrored:
					column = p.Width - 1 - x
				case halfTurn:
					row, column = p.Height-1-y, p.Width-1-x
				case flipped:
					row = p.Height - 1 - y
				case transposed:
					row, column = x, y
				case quarterTurn:
					row, column = p.Height-1-x, y
				case transverse:
					row, column = p.Height-1-x, p.Width-1-y
				case threeTurns:
					row, column = x, p.Width-1-y
				}
				dst[y*width+x] = src[row*p.Width+column]
			}
		}
	}
	upright.Want = p.Want
	*p = upright
}
