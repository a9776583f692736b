package data

import (
	"fmt"
	"sync"

	"lte/data/picture"
	"lte/data/source"
)

// files is a collection of images that are decoded on demand.
type files struct {
	split   source.Split
	encoded sync.Pool // of *[]byte
}

func (f *files) Len() int        { return len(f.split.Labels) }
func (f *files) Label(i int) int { return int(f.split.Labels[i]) }

func (f *files) Picture(dst *Picture, i int) error {
	buffer, ok := f.encoded.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	defer f.encoded.Put(buffer)
	encoded, err := f.split.Files[i].Read(*buffer)
	if err == nil {
		*buffer = encoded
		err = picture.Decode(dst, encoded)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.split.Files[i], err)
	}
	return nil
}
