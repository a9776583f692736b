package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"lte/data/limit"
	"lte/internal/file"
)

// openArchive indexes a tar or zip archive. Files of a plain tar and of a zip are read in place on demand; those of a compressed tar are
// decompressed into memory here, still encoded. The file stays open as long as the process. A file that is not an archive stands for its
// folder.
func openArchive(name string) (fileSystem, error) {
	f, err := file.Open(name)
	if err != nil {
		return nil, err
	}
	var a *archive
	info, err := f.Stat()
	if err == nil {
		a, err = indexArchive(f, info.Size(), name)
	}
	if err == nil && a != nil {
		return a, nil
	}
	defer f.Close()
	if err != nil {
		return nil, err
	}
	var head [8]byte
	n, _ := f.ReadAt(head[:], 0) // indexArchive has read it
	return singleFile{disk(filepath.Dir(name)), filepath.Base(name), head[:n]}, nil
}

// singleFile is a folder of which only the set of one file is read.
type singleFile struct {
	disk
	file string
	head []byte // its first bytes
}

// indexArchive returns nil for a file that is not an archive.
func indexArchive(f io.ReaderAt, size int64, name string) (*archive, error) {
	var head [512]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("an empty file, expected an image set: copy or download it again")
	}
	a := newArchive(name)
	a.packed = size
	all := io.NewSectionReader(f, 0, size)
	switch format := compression(head[:n]); {
	case isTar(head[:n]):
		return a, a.indexTar(all, f)
	case bytes.HasPrefix(head[:n], []byte("PK\x03\x04")), bytes.HasPrefix(head[:n], []byte("PK\x05\x06")):
		return a, a.indexZip(f, size)
	case format != "":
		z, err := unpack(bufio.NewReaderSize(all, 1<<20), format)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		plain := bufio.NewReaderSize(z, 1<<20)
		head, err := plain.Peek(512)
		if err != nil && err != io.EOF {
			return nil, damaged("at its beginning", err)
		}
		if !isTar(head) {
			return nil, nil
		}
		return a, a.indexTar(plain, nil)
	}
	return nil, nil
}

// isTar recognizes a tar archive by its first header's checksum: the sum of the header's bytes, with the checksum's own as blanks
// (POSIX.1-1988, ustar, and older formats). Some old programs summed signed bytes. archive/tar would also refuse other invalid fields.
func isTar(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	want, err := strconv.ParseInt(strings.Trim(string(head[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, b := range head[:512] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		unsigned += int64(b)
		signed += int64(int8(b))
	}
	return want == unsigned || want == signed
}

// indexTar lists a tar archive. If its bytes can be read in place, from at, it keeps offsets, otherwise the bytes.
func (a *archive) indexTar(r io.Reader, at io.ReaderAt) error {
	tail := &tailReader{r: r}
	var stream io.Reader = tail
	if s, ok := r.(io.Seeker); ok && at != nil {
		stream = seekingTail{tail, s} // lets archive/tar skip files
	}
	entries := tar.NewReader(stream)
	last := "at its beginning"
	for {
		h, err := entries.Next()
		if err == io.EOF && tail.zeros < 512 {
			err = io.ErrUnexpectedEOF // archive/tar accepts an archive without the final blocks
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = a.check(h.Name)
		}
		if err == nil {
			err = a.tarEntry(h, entries, tail.offset, at)
		}
		if err != nil {
			return damaged(fmt.Sprintf("%s (byte %d)", last, tail.offset), err)
		}
		last = "after " + h.Name
	}
	if at == nil { // a compressed file ends with its checksum
		if _, err := io.Copy(io.Discard, tail); err != nil {
			return damaged(fmt.Sprintf("at its end (byte %d)", tail.offset), err)
		}
	}
	return nil
}

// tarEntry adds one entry, whose bytes begin at offset.
func (a *archive) tarEntry(h *tar.Header, r io.Reader, offset int64, at io.ReaderAt) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if ignored(h.Name) {
			return nil
		}
		if at != nil && !sparse(h) {
			if left := a.packed - offset; h.Size > left {
				return fmt.Errorf("%s of %d bytes, but the file has only %d more: %w", h.Name, h.Size, left, io.ErrUnexpectedEOF)
			}
			a.add(h.Name, section{at, offset, h.Size}, nil)
			return nil
		}
		if h.Size > limit.Unpacked(a.packed)-a.inMemory {
			return errExpands
		}
		a.inMemory += h.Size
		content, err := appendAll(nil, r, h.Size, h.Size)
		if err != nil {
			return err
		}
		a.add(h.Name, memoryFile{bytes.Clone(content), offset}, nil) // a clone has no spare capacity
	case tar.TypeDir:
		a.addFolder(clean(h.Name))
	case tar.TypeSymlink, tar.TypeLink:
		err := fmt.Errorf("a link to %s, expected an image: pack the archive again with tar --dereference --hard-dereference", h.Linkname)
		a.add(h.Name, unreadable{err}, err)
	default:
		err := fmt.Errorf("an entry of type %q, expected images and folders alone: pack the archive again without it", h.Typeflag)
		a.add(h.Name, unreadable{err}, err)
	}
	return nil
}

// ignored reports whether an entry is skipped: hidden files, and the unlabelled images of STL-10, 2.7 GB.
func ignored(name string) bool {
	for part := range strings.SplitSeq(clean(name), "/") {
		if hidden(part) && part != "." {
			return true
		}
	}
	return strings.HasSuffix(name, "unlabeled_X.bin")
}

// sparse reports whether an entry is stored without its holes.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// tailReader tracks the offset and the zeros: 512 of them or more end an archive, but no image.
type tailReader struct {
	r      io.Reader
	offset int64
	zeros  int // number of zeros read last
}

func (t *tailReader) Read(p []byte) (n int, err error) {
	n, err = t.r.Read(p)
	t.offset += int64(n)
	if rest := bytes.TrimRight(p[:n], "\x00"); len(rest) > 0 {
		t.zeros = n - len(rest)
	} else {
		t.zeros += n
	}
	return n, err
}

// seekingTail is a tailReader that can skip.
type seekingTail struct {
	*tailReader
	io.Seeker
}

func (t seekingTail) Seek(offset int64, whence int) (int64, error) {
	at, err := t.Seeker.Seek(offset, whence)
	if err == nil && at != t.offset {
		t.offset, t.zeros = at, 0
	}
	return at, err
}
