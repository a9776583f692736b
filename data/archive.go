package data

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readArchive reads the images of a tar file, still encoded.
func readArchive(name string) (*tree, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	head, _ := r.Peek(4) // a shorter file fails below
	packed := compression(head)
	var plain io.Reader = r
	switch packed {
	case "zstd":
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("expected zstd: %w", err)
		}
		defer z.Close()
		plain = z
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("expected gzip: %w; the file is damaged: copy or download it again", err)
		}
		defer z.Close()
		plain = z
	}
	return readTar(plain, packed)
}

// readTar reads the images of a tar stream; packed, how it was compressed, is for errors.
func readTar(r io.Reader, packed string) (*tree, error) {
	if packed == "" {
		packed = "not compressed"
	}
	tail := &tailReader{r: r}
	archive := tar.NewReader(tail)
	tops := map[string]*tree{} // the folders above split folders
	found := map[string]bool{} // what lies at the archive's root
	var buffer bytes.Buffer
	last := "" // the entry before
	for {
		h, err := archive.Next()
		if err == io.EOF && !tail.zero {
			err = io.ErrUnexpectedEOF // archive/tar is content without the blocks that end an archive
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			if last == "" {
				return nil, fmt.Errorf("expected a tar archive (%s), found none: %w; correct data.path or data.kind, or copy the file again", packed, err)
			}
			return nil, damaged("after "+last, err)
		}
		last = h.Name
		// Names in an archive: "train/cat/1.jpg", "./top/train/cat/1.jpg", "train/cat/".
		parts := strings.Split(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), "/")
		if slices.ContainsFunc(parts, hidden) {
			continue
		}
		found[parts[0]] = true
		top := ""
		if !isSplit(parts[0]) {
			top, parts = parts[0], parts[1:]
		}
		if len(parts) == 0 || !isSplit(parts[0]) || len(parts) == 1 && h.Typeflag == tar.TypeReg {
			continue
		}
		if tops[top] == nil {
			tops[top] = &tree{}
		}
		if err := tops[top].entry(h, parts, archive, &buffer); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, tail); err != nil { // the checksums stand at the end
		return nil, damaged("at its end", err)
	}
	return only(tops, found)
}

// entry takes in one entry of an archive, whose name from its split on is parts.
func (t *tree) entry(h *tar.Header, parts []string, r io.Reader, buffer *bytes.Buffer) error {
	split := parts[0]
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		switch {
		case len(parts) > 3:
			return tooDeep(path.Dir(h.Name))
		case len(parts) < 3:
			t.class(split, "") // beside the class folders: the split is there, no more
			return nil
		}
		buffer.Reset() // grows with what is there, not with what the header promises
		if _, err := buffer.ReadFrom(r); err != nil {
			return damaged("in "+h.Name, err)
		}
		t.add(split, parts[1], file{h.Name, bytes.Clone(buffer.Bytes())})
	case tar.TypeDir:
		switch len(parts) {
		case 1:
			t.class(split, "")
		case 2:
			t.class(split, parts[1])
		case 3:
			return tooDeep(h.Name)
		}
	case tar.TypeSymlink, tar.TypeLink:
		return fmt.Errorf("%s: a link to %s, expected an image: pack the archive again with tar --dereference --hard-dereference",
			h.Name, h.Linkname)
	default:
		return fmt.Errorf("%s: an entry of type %q, expected images and folders alone: pack the archive again without it", h.Name, h.Typeflag)
	}
	return nil
}

func damaged(where string, err error) error {
	word := "is damaged"
	if errors.Is(err, io.ErrUnexpectedEOF) {
		word = "ends too early"
	}
	return fmt.Errorf("the archive %s, %s: %w; copy or download it again", word, where, err)
}

// only returns the one tree of an archive: at its root, else below its only top folder with a train/.
func only(tops map[string]*tree, found map[string]bool) (*tree, error) {
	t := tops[""]
	if t == nil {
		t = &tree{}
		with := ""
		for _, top := range slices.Sorted(maps.Keys(tops)) {
			if tops[top].splits[trainFolder] == nil {
				continue
			}
			if with != "" {
				return nil, severalTops(with, top)
			}
			with, t = top, tops[top]
		}
	}
	t.found = slices.Sorted(maps.Keys(found))
	return t, nil
}

// tailReader knows whether the last block that was read, 512 bytes, is zero: what an archive ends with. No image does.
type tailReader struct {
	r     io.Reader
	zeros int  // bytes of 0 read last
	zero  bool // zeros >= 512
}

func (t *tailReader) Read(p []byte) (n int, err error) {
	n, err = t.r.Read(p)
	if rest := bytes.TrimRight(p[:n], "\x00"); len(rest) > 0 {
		t.zeros = n - len(rest)
	} else {
		t.zeros += n
	}
	t.zero = t.zeros >= 512
	return n, err
}
