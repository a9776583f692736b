package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"lte/data/packed"
)

// Source says where a data set comes from.
type Source struct {
	Kind string // "digits", "folder", "tar" or "packed"; "auto", or nothing: digits where Path is empty, else found by looking
	Path string // of the folder or the archive

	Size      int    // pixels: side of what the model is fed; 0: the images' own size, which must then be one
	Fit       Fit    // how images come to that size, where Size is not 0; its Filter always
	Normalize string // named measures, see Normalizations; "auto", or nothing: those of the training images
	Workers   int    // goroutines that prepare images at once; 0: one
}

var kinds = []string{"auto", "digits", "folder", "tar", "packed"}

// Kinds returns the kinds of Source that Open knows.
func Kinds() []string { return slices.Clone(kinds) }

// Open returns the data set of a source.
//
//	digits  1,797 images of 8×8, in the program itself
//	folder  an image folder: train/CLASS/IMAGE and test/CLASS/IMAGE, in Path or in the only folder there that has them
//	tar     an archive of such a folder: plain, or compressed by zstd or gzip, whatever its name
//	packed  a folder that lte data pack wrote
//
// Where there is no test/ with class folders, val/ or valid/ takes its place. The classes are the names of train's
// class folders, sorted; a class's images follow each other in the order of their names, so that a folder and its
// archive are the same data set. Images are what picture.Decode reads, all of one size. What begins with a dot is passed over, and so is all that lies
// outside of the class folders. Links in a folder are followed; in an archive they are an error.
//
// The whole set stays in memory, a byte a value: 184 MB for CIFAR-10. Every process holds its own copy, so the ranks
// of a node need that much each. While it is read the compressed images of an archive come on top.
//
// The seed decides the split, where a data set comes without one, and nothing else: a caller passes the same seed
// whatever the run's own is, so that the test images of two runs agree. Errors say which file, what is wrong with it,
// what was expected, and what to do.
func Open(o Source, seed uint64) (*Set, error) {
	set, err := open(o, seed)
	if err == nil {
		err = set.prepare(o)
	}
	switch {
	case err == nil:
		return set, nil
	case o.Path == "":
		return nil, fmt.Errorf("data: opening the digits: %w", err)
	}
	return nil, fmt.Errorf("data: opening %q: %w", o.Path, err)
}

// prepare says how the set's images become what the model is fed.
func (s *Set) prepare(o Source) error {
	s.Workers, s.Fit.Filter = o.Workers, o.Fit.Filter
	switch {
	case o.Size == 0 && s.sizes != nil:
		return s.sizes
	case o.Size > 0:
		s.Height, s.Width, s.Fit = o.Size, o.Size, o.Fit
	}
	return s.normalizeBy(o.Normalize)
}

func open(o Source, seed uint64) (*Set, error) {
	kind := o.Kind
	if kind == "" {
		kind = "auto"
	}
	if !slices.Contains(kinds, kind) {
		return nil, fmt.Errorf("unknown data.kind %q: expected one of %s", kind, strings.Join(kinds, ", "))
	}
	if o.Path == "" {
		if kind == "folder" || kind == "tar" || kind == "packed" {
			return nil, fmt.Errorf("data.kind is %s, but data.path is empty: say where the images are, or set data.kind to digits", kind)
		}
		return openDigits(seed)
	}
	if kind == "digits" {
		return nil, errors.New("data.kind is digits, which are in the program itself, but data.path is set: leave data.path empty, or set data.kind to auto")
	}
	found, err := look(o.Path)
	if err != nil {
		return nil, err
	}
	if kind == "packed" || kind == "auto" && found == "folder" && packed.Is(o.Path) {
		return openPacked(o.Path)
	}
	if kind == "auto" {
		kind = found
	}
	// An archive from before ustar has nothing to know it by: it must be called one.
	if is := found == "folder"; is != (kind == "folder") {
		if is {
			return nil, errors.New("expected an archive, as data.kind is tar, but it is a folder: set data.kind to folder or auto")
		}
		return nil, errors.New("expected a folder, as data.kind is folder, but it is a file: set data.kind to tar or auto")
	}
	var t *tree
	switch kind {
	case "folder":
		t, err = readFolder(o.Path)
	case "tar":
		t, err = readArchive(o.Path)
	default:
		return nil, fmt.Errorf("%s: expected an image folder or an archive of one (tar, tar.zst, tar.gz): correct data.path, or unpack the file and name its folder", found)
	}
	if err != nil {
		return nil, err
	}
	set, err := t.load(setName(o.Path, kind))
	if err == nil {
		debug.FreeOSMemory() // what decoding left is more than the set, and the ranks of a node share its memory
	}
	return set, err
}

// look returns what lies at a path: "folder", "tar", or words about a file that is neither.
func look(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("%w; correct data.path", err)
	}
	if info.IsDir() {
		return "folder", nil
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("it is neither a file nor a folder (%v): correct data.path", info.Mode().Type())
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var head [512]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	if n == 0 {
		return "an empty file", nil
	}
	if compression(head[:n]) != "" || n == len(head) && bytes.Equal(head[257:262], []byte("ustar")) {
		return "tar", nil
	}
	return fmt.Sprintf("a file that begins with %q", head[:min(n, 8)]), nil
}

// compression returns how a file that begins like that is compressed: "zstd", "gzip", or "" for neither.
// RFC 8878, 3.1 (a frame, or a skippable one), and RFC 1952, 2.3.1.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return "zstd"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	}
	return ""
}

// setName returns the base name of a path, that of an archive without its extensions.
func setName(name, kind string) string {
	if whole, err := filepath.Abs(name); err == nil {
		name = whole // "." has a name too
	}
	name = filepath.Base(name)
	if kind == "tar" {
		for {
			ext := filepath.Ext(name)
			if ext == name || !slices.Contains([]string{".tar", ".zst", ".zstd", ".gz", ".tgz", ".tzst"}, strings.ToLower(ext)) {
				break
			}
			name = strings.TrimSuffix(name, ext)
		}
	}
	if name == string(filepath.Separator) {
		return kind
	}
	return name
}
