package source

import (
	"fmt"
	"io"
	"strings"

	"lte/data/limit"

	"github.com/klauspost/compress/zip"
)

// indexZip lists a zip archive.
func (a *archive) indexZip(r io.ReaderAt, size int64) error {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return damaged(fmt.Sprintf("as zip (the directory at its end, before byte %d)", size), err)
	}
	for _, f := range z.File {
		if err := a.check(f.Name); err != nil {
			return damaged("as zip", err)
		}
		switch {
		case strings.HasSuffix(f.Name, "/"):
			a.addFolder(clean(f.Name))
		case !f.Mode().IsRegular():
			err := fmt.Errorf("an entry of type %v, expected images and folders alone: pack the archive again without it", f.Mode().Type())
			a.add(f.Name, unreadable{err}, err)
		case f.Flags&1 != 0:
			err := fmt.Errorf("encrypted, expected a file that can be read: pack the archive again without a password")
			a.add(f.Name, unreadable{err}, err)
		case !ignored(f.Name):
			a.add(f.Name, zipped{f, size}, nil)
		}
	}
	return nil
}

// zipped is a file of a zip archive of that size, decompressed when it is read.
type zipped struct {
	file    *zip.File
	archive int64
}

func (z zipped) at() string {
	offset, err := z.file.DataOffset()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("byte %d", offset)
}

func (z zipped) appendTo(dst []byte, most int64) ([]byte, error) {
	announced := int64(min(z.file.UncompressedSize64, 1<<62))
	if announced > most {
		return nil, tooLarge(announced, most)
	}
	if announced > limit.Unpacked(min(int64(min(z.file.CompressedSize64, 1<<62)), z.archive)) {
		return nil, errExpands
	}
	r, err := z.file.Open()
	if err == nil {
		defer r.Close()
		// One byte more than announced detects a wrong size.
		dst, err = appendAll(dst, io.LimitReader(r, announced+1), announced, announced+1)
	}
	if err != nil {
		return nil, fmt.Errorf("damaged in its archive: %w; copy or download the archive again", err)
	}
	return dst, nil
}
