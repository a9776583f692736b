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

// errNoJPEG is of images that libjpeg is not asked for: they go to image/jpeg.
var errNoJPEG = errors.New("CMYK or YCCK")

// decoders keeps libjpeg's: each has tables and rows of its own.
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

// decodeJPEG makes dst the image, or the piece of it that dst.Want asks for. Where an image is not upright, want is
// false: what is wanted is known of the turned image alone.
func decodeJPEG(dst *Picture, encoded []byte, want bool) error {
	d := decoders.Get().(*turbo)
	defer decoders.Put(d)
	var pinned runtime.Pinner // C keeps it from the header to the pixels
	defer pinned.Unpin()
	pinned.Pin(&encoded[0])
	var height, width, components C.int
	if C.lte_jpeg_header(d.j, (*C.uint8_t)(unsafe.Pointer(&encoded[0])), C.size_t(len(encoded)), &height, &width, &components) != 0 {
		return d.error()
	}
	if components != 1 && components != 3 {
		return errNoJPEG
	}
	box := Whole(int(height), int(width))
	if want && dst.Want != nil {
		p := dst.Want(box.Height, box.Width)
		if by := p.shrinks(); by > 1 {
			C.lte_jpeg_shrink(d.j, C.int(by), &height, &width)
			box = p.Box.over(by, int(height), int(width))
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
