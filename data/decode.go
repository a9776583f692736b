package data

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"lte/data/picture"
)

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
	return picture.Size(encoded)
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
			var room Picture
			for {
				// Indices are handed out in order, so the files before one that fails are all taken, and are finished.
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				f := &files[i]
				err := caught(func() error { return decode(dst(i), f, height, width, files[0].name, &room) })
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

// decode writes a file's image, (3, height, width), into dst, by way of room. Its size is looked at first: an image of
// another one may be too large to decode.
func decode(dst []uint8, f *file, height, width int, first string, room *Picture) error {
	encoded, err := f.content()
	if err != nil {
		return err
	}
	h, w, err := picture.Size(encoded)
	if err != nil {
		return err
	}
	if h != height || w != width {
		return fmt.Errorf("an image of %d×%d pixels, expected %d×%d like %s: there is no resizing yet, so bring all images to one size",
			w, h, width, height, first)
	}
	if err := picture.Decode(room, encoded); err != nil {
		return err
	}
	copy(dst, room.Pix)
	return nil
}
