package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"lte/data/limit"
	"lte/internal/file"
)

// fileSystem is a folder or an archive of one, with slash-separated names from its root, ".". Names that begin with a dot (.DS_Store,
// ._cat.jpg, .ipynb_checkpoints) are ignored.
type fileSystem interface {
	// list returns the entries of a folder, sorted by name.
	list(dir string) ([]entry, error)
	// read appends a file's content, of at most most bytes, to dst. It is safe for concurrent use.
	read(dst []byte, name string, most int64) ([]byte, error)
	// where describes a file for errors, with its offset in an archive.
	where(name string) string
}

// entry is a file or a folder.
type entry struct {
	name    string
	dir     bool
	problem error   // why a file cannot be an image; nil: it may be one
	target  *folder // of a symbolic link to a folder
}

// folder identifies a folder independently of its path.
type folder struct{ device, inode uint64 }

// hidden reports whether a file or folder is ignored.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// openFileSystem opens a folder or an archive. A file that is not an archive stands for its folder.
func openFileSystem(name string) (fileSystem, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%w; correct data.path", err)
	}
	if info.IsDir() {
		return disk(name), nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is neither a file nor a folder (%s): correct data.path", file.Kind(info.Mode()))
	}
	return openArchive(name)
}

// disk is a folder on disk. Links in it are followed.
type disk string

func (d disk) where(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d disk) list(dir string) (entries []entry, err error) {
	at := d.where(dir)
	all, err := os.ReadDir(at)
	if err != nil {
		return nil, fmt.Errorf("%w; expected a folder that can be read: correct data.path or the folder's permissions", err)
	}
	var above []folder
	for _, e := range all {
		if hidden(e.Name()) {
			continue
		}
		found, mode := entry{name: e.Name()}, e.Type()
		if mode&os.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(at, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("%w; a broken link, expected an image or a folder: repair the link or remove it", err)
			}
			mode = info.Mode()
			if mode.IsDir() {
				to := folderOf(info)
				if above == nil {
					above = d.above(dir)
				}
				if slices.Contains(above, to) {
					found.problem = errors.New("a link to a folder that contains it, expected an image or another folder: remove it")
					mode = 0
				}
				found.target = &to
			}
		}
		found.dir = mode.IsDir()
		if !found.dir && !mode.IsRegular() {
			found.problem = fmt.Errorf("%s, expected an image or a folder: remove it", file.Kind(mode))
		}
		entries = append(entries, found)
	}
	return entries, nil
}

// above returns a folder of d and its parents, up to d itself.
func (d disk) above(dir string) (all []folder) {
	for {
		if info, err := os.Stat(d.where(dir)); err == nil {
			all = append(all, folderOf(info))
		}
		if dir == "." {
			return all
		}
		dir = path.Dir(dir)
	}
}

func folderOf(info os.FileInfo) folder {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return folder{uint64(s.Dev), s.Ino}
	}
	return folder{}
}

func (d disk) read(dst []byte, name string, most int64) ([]byte, error) {
	f, err := file.Open(d.where(name))
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			dst, err = appendAll(dst, f, info.Size(), most)
		}
	}
	err = file.Cause(err)
	switch {
	case errors.As(err, new(*beyondLimit)):
		return nil, err
	case errors.Is(err, file.ErrNotRegular):
		return nil, fmt.Errorf("%w; expected a file: replace or remove it", err)
	case err != nil:
		return nil, fmt.Errorf("%w; expected a file that can be read: correct its permissions, or copy it again", err)
	}
	return dst, nil
}

// appendAll appends the bytes of r, most at most, to dst. Only up to 64 MB of the expected size are allocated in advance: a damaged archive
// may claim any size.
func appendAll(dst []byte, r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, tooLarge(size, most)
	}
	b := bytes.NewBuffer(dst)
	b.Grow(int(min(max(size, 0), 64<<20)) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(r, most+1))
	if n > most {
		return nil, tooLarge(n, most)
	}
	return b.Bytes(), err
}

// beyondLimit is the error of a file that package limit refuses. It need not be damaged.
type beyondLimit struct{ text string }

func (e *beyondLimit) Error() string { return e.text }

func tooLarge(size, most int64) error {
	return &beyondLimit{fmt.Sprintf("%d bytes or more, expected %d at most: replace or remove it", size, most)}
}

// errExpands is the error of a file that decompresses to more than limit.Unpacked allows.
var errExpands error = &beyondLimit{"it decompresses to more than 50 times its size, unlike images: remove it, or, if that is intended, decompress it and use the result"}

// archive is the index of an archive.
type archive struct {
	name     string // its base name
	files    map[string]content
	folders  map[string]map[string]entry // entries of each folder
	packed   int64                       // size of the archive in bytes
	inMemory int64                       // bytes of its files in memory
}

// content is one file of an archive.
type content interface {
	appendTo(dst []byte, most int64) ([]byte, error)
	// at describes the position of the file in the archive; empty if unknown.
	at() string
}

func newArchive(name string) *archive {
	return &archive{name: filepath.Base(name), files: map[string]content{}, folders: map[string]map[string]entry{".": {}}}
}

// add adds a file; a later one of the same name replaces it, as when the archive is extracted. Names in an archive are "train/cat/1.jpg",
// "./train/cat/1.jpg", "train/cat/".
func (a *archive) add(name string, c content, problem error) {
	if name = clean(name); name == "." {
		return
	}
	a.addFolder(path.Dir(name))
	parent := a.folders[path.Dir(name)]
	base := path.Base(name)
	parent[base] = entry{name: base, dir: parent[base].dir, problem: problem}
	a.files[name] = c
}

// addFolder adds a folder with a clean name, and its parents.
func (a *archive) addFolder(name string) {
	if a.folders[name] != nil {
		return
	}
	a.folders[name] = map[string]entry{}
	a.addFolder(path.Dir(name))
	a.folders[path.Dir(name)][path.Base(name)] = entry{name: path.Base(name), dir: true}
}

func clean(name string) string { return path.Clean("./" + path.Clean("/"+name)) }

func (a *archive) list(dir string) ([]entry, error) {
	var entries []entry
	for _, e := range a.folders[clean(dir)] {
		if !hidden(e.name) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func (a *archive) read(dst []byte, name string, most int64) ([]byte, error) {
	c, ok := a.files[clean(name)]
	if !ok {
		return nil, os.ErrNotExist
	}
	return c.appendTo(dst, most)
}

// check refuses a name that is too long, and too many folders, each of which takes memory of a hundred times its length in a name.
func (a *archive) check(name string) error {
	switch {
	case len(name) > limit.Name:
		return &beyondLimit{fmt.Sprintf("a name of %d bytes, expected %d at most: pack the archive again with shorter ones", len(name), limit.Name)}
	case strings.Count(name, "/") > limit.Depth:
		return &beyondLimit{fmt.Sprintf("a file in %d folders, expected %d at most: pack the archive again with fewer", strings.Count(name, "/"), limit.Depth)}
	case len(a.folders) > limit.Folders:
		return &beyondLimit{fmt.Sprintf("more than %d folders: pack fewer classes, or the files in fewer folders", limit.Folders)}
	}
	return nil
}

func (a *archive) where(name string) string {
	if clean(name) == "." {
		return a.name
	}
	if c, ok := a.files[clean(name)]; ok && c.at() != "" {
		return fmt.Sprintf("%s, %s, %s", a.name, c.at(), name)
	}
	return a.name + ", " + name
}

// section is a part of a file, read in place.
type section struct {
	file         io.ReaderAt
	offset, size int64
}

func (s section) at() string { return fmt.Sprintf("byte %d", s.offset) }

func (s section) appendTo(dst []byte, most int64) ([]byte, error) {
	n := len(dst)
	dst, err := appendAll(dst, io.NewSectionReader(s.file, s.offset, s.size), s.size, most)
	if err == nil && int64(len(dst)-n) < s.size {
		err = io.ErrUnexpectedEOF
	}
	if errors.As(err, new(*beyondLimit)) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("the archive changed since it was opened: %w; copy or download it again", err)
	}
	return dst, nil
}

// memoryFile is a file of a compressed archive, in memory.
type memoryFile struct {
	bytes  []byte
	offset int64 // in the decompressed archive
}

func (h memoryFile) at() string { return fmt.Sprintf("byte %d when decompressed", h.offset) }

func (h memoryFile) appendTo(dst []byte, most int64) ([]byte, error) {
	if n := int64(len(h.bytes)); n > most {
		return nil, tooLarge(n, most)
	}
	return append(dst, h.bytes...), nil
}

// unreadable is an entry that is not a file, such as a link.
type unreadable struct{ err error }

func (u unreadable) at() string                             { return "" }
func (u unreadable) appendTo([]byte, int64) ([]byte, error) { return nil, u.err }

// readLines returns the lines of a text file that are neither empty nor comments (#), or nil if it does not exist.
func readLines(p fileSystem, name string) ([]string, error) {
	text, err := p.read(nil, name, limit.Text)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.where(name), err)
	}
	return linesOf(text), nil
}

func linesOf(text []byte) (lines []string) {
	for line := range bytes.Lines(text) {
		if s := strings.TrimSpace(string(line)); s != "" && !strings.HasPrefix(s, "#") {
			lines = append(lines, s)
		}
	}
	return lines
}

// shorten lists names, the first few of many.
func shorten(names []string) string {
	const most = 6
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}
