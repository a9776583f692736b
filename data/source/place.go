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
)

// place is where files lie, by slash-separated names from its root, ".": a folder, or an archive of one. What begins
// with a dot (.DS_Store, ._cat.jpg, .ipynb_checkpoints) is passed over.
type place interface {
	// list returns what a folder holds, sorted by name.
	list(dir string) ([]entry, error)
	// read appends a file's content to dst. It is safe for concurrent use.
	read(dst []byte, name string) ([]byte, error)
	// where names a file for errors, with its offset in an archive.
	where(name string) string
}

// entry is a file or a folder.
type entry struct {
	name  string
	dir   bool
	wrong error // why a file cannot be an image's; nil: it may be
}

// hidden says whether a file or folder is passed over.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// openPlace returns what lies at a path. A file that is no archive stands for the folder around it.
func openPlace(name string) (place, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%w; correct data.path", err)
	}
	if info.IsDir() {
		return disk(name), nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is neither a file nor a folder (%v): correct data.path", info.Mode().Type())
	}
	return openArchive(name)
}

// disk is a folder on disk. Links in it are followed.
type disk string

func (d disk) where(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d disk) list(dir string) (entries []entry, err error) {
	folder := d.where(dir)
	found, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("%w; expected a folder that can be read: correct data.path or the folder's permissions", err)
	}
	for _, e := range found {
		if hidden(e.Name()) {
			continue
		}
		is := e.IsDir()
		if e.Type()&os.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(folder, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("%w; a link that leads nowhere, expected an image or a folder: mend the link or remove it", err)
			}
			is = info.IsDir()
		}
		entries = append(entries, entry{name: e.Name(), dir: is})
	}
	return entries, nil
}

func (d disk) read(dst []byte, name string) ([]byte, error) {
	f, err := os.Open(d.where(name))
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			dst, err = appendAll(dst, f, info.Size())
		}
	}
	if e := new(os.PathError); errors.As(err, &e) {
		err = e.Err // its name is said by the caller
	}
	if err != nil {
		return nil, fmt.Errorf("%w; expected a file that can be read: correct its permissions, or copy it again", err)
	}
	return dst, nil
}

// appendAll appends what r yields to dst. The size expected makes room at once only as far as it is modest: a damaged
// archive may promise anything.
func appendAll(dst []byte, r io.Reader, size int64) ([]byte, error) {
	dst = slices.Grow(dst, int(min(max(size, 0), 64<<20))+1)
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, len(dst)+512)
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// archive is the index of an archive.
type archive struct {
	name    string // its base name
	files   map[string]content
	folders map[string]map[string]entry // of each folder: what it holds
}

// content is one file of an archive.
type content interface {
	appendTo(dst []byte) ([]byte, error)
	// at says where in the archive the file lies; empty where that says nothing.
	at() string
}

func newArchive(name string) *archive {
	return &archive{name: filepath.Base(name), files: map[string]content{}, folders: map[string]map[string]entry{".": {}}}
}

// add takes in a file; a later one of the same name replaces it, as where the archive is unpacked. Names in an archive
// are "train/cat/1.jpg", "./train/cat/1.jpg", "train/cat/".
func (a *archive) add(name string, c content, wrong error) {
	if name = clean(name); name == "." {
		return
	}
	a.folder(path.Dir(name))
	parent := a.folders[path.Dir(name)]
	base := path.Base(name)
	parent[base] = entry{name: base, dir: parent[base].dir, wrong: wrong}
	a.files[name] = c
}

// folder takes in a folder and those above it.
func (a *archive) folder(name string) {
	if name = clean(name); a.folders[name] != nil {
		return
	}
	a.folders[name] = map[string]entry{}
	a.folder(path.Dir(name))
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

func (a *archive) read(dst []byte, name string) ([]byte, error) {
	c, ok := a.files[clean(name)]
	if !ok {
		return nil, os.ErrNotExist
	}
	return c.appendTo(dst)
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

func (s section) appendTo(dst []byte) ([]byte, error) {
	n := len(dst)
	dst, err := appendAll(dst, io.NewSectionReader(s.file, s.offset, s.size), s.size)
	if err == nil && int64(len(dst)-n) < s.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("the archive changed since it was opened: %w; copy or download it again", err)
	}
	return dst, nil
}

// held is a file of a compressed archive, in memory.
type held struct {
	bytes  []byte
	offset int64 // in the unpacked archive
}

func (h held) at() string                          { return fmt.Sprintf("byte %d when unpacked", h.offset) }
func (h held) appendTo(dst []byte) ([]byte, error) { return append(dst, h.bytes...), nil }

// unreadable is an entry that is no file, such as a link.
type unreadable struct{ err error }

func (u unreadable) at() string                      { return "" }
func (u unreadable) appendTo([]byte) ([]byte, error) { return nil, u.err }

// readLines returns the lines of a text file that are neither empty nor comments (#), or nil where there is none.
func readLines(p place, name string) ([]string, error) {
	text, err := p.read(nil, name)
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
