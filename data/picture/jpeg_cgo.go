//go:build cgo

package picture

// #cgo LDFLAGS: -ljpeg
// #include "jpeg.h"
import "C"

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// errNoJPEG is the error of images that libjpeg does not decode here: image/jpeg does.
var errNoJPEG = errors.New("CMYK or YCCK")

// decoders pools libjpeg decoders, each with its tables and row buffers.
var decoders = sync.Pool{New: func() any {
	d := &turbo{C.lte_jpeg_new()}
	if d.j == nil {
		panic("picture: no memory for a JPEG decoder")
	}
	runtime.AddCleanup(d, func(j *C.lte_jpeg) { C.lte_jpeg_free(j) }, d.j)
	return d
}}

type turbo struct{ j *C.lte_jpeg }

func (d *turbo) error() error {
	at, text := int(C.lte_jpeg_at(d.j)), C.GoString(C.lte_jpeg_error(d.j))
	if strings.HasPrefix(text, "Premature end") || strings.Contains(text, "premature end") {
		return near(at, &endsEarly{text})
	}
	return near(at, errors.New(text))
}

// decodeJPEG decodes an image, or the region that dst.Want asks for. want is false for an image that is not upright: its region is only
// known after rotation.
func decodeJPEG(dst *Picture, encoded []byte, want bool) error {
	d := decoders.Get().(*turbo)
	defer decoders.Put(d)
	var pinned runtime.Pinner // C keeps a pointer from the header to the pixels
	defer pinned.Unpin()
	pinned.Pin(&encoded[0])
	var height, width, components C.int
	if C.lte_jpeg_header(d.j, (*C.uint8_t)(unsafe.Pointer(&encoded[0])), C.size_t(len(encoded)), &height, &width, &components) != 0 {
		return d.error()
	}
	if components != 1 && components != 3 {
		return errNoJPEG
	}
	box := Full(int(height), int(width))
	if want && dst.Want != nil {
		p := dst.Want(box.Height, box.Width)
		if by := p.shrinkFactor(); by > 1 {
			C.lte_jpeg_shrink(d.j, C.int(by), &height, &width)
			box = p.Box.shrunk(by, int(height), int(width))
		} else {
			box = p.Box
		}
		dst.Cut = true
	}
	dst.Reset(3, box.Height, box.Width)
	if C.lte_jpeg_pixels(d.j, (*C.uint8_t)(&dst.Pix[0]), C.int(box.Top), C.int(box.Left), C.int(box.Height), C.int(box.Width)) != 0 {
		return d.error()
	}
	return nil
}
