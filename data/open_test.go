package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// member is a file of an image folder, or a folder if its name ends with a slash.
type member struct{ name, content string }

// tint is a PNG of 3×2 pixels: red is v, green the column, blue the row.
func tint(v uint8) string { return pngOf(3, 2, v) }

func pngOf(width, height int, v uint8) string {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetNRGBA(x, y, color.NRGBA{v, uint8(x), uint8(y), 255})
		}
	}
	return encoded(func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

func encoded(f func(*bytes.Buffer) error) string {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		panic(err)
	}
	return b.String()
}

// cats has two classes in two splits, unsorted; the images of train are 1 to 5 by class and name, those of test 6 to 8.
func cats(test string) []member {
	return []member{
		{"train/", ""}, {"train/dog/b.png", tint(5)}, {"train/cat/10.png", tint(1)}, {"train/cat/9.png", tint(3)},
		{test + "/dog/1.png", tint(8)}, {"train/dog/a.jpg", tint(4)}, {"train/cat/2", tint(2)},
		{test + "/cat/x.PNG", tint(6)}, {test + "/cat/y.txt", tint(7)},
	}
}

// below puts members below a top folder.
func below(top string, members []member) []member {
	members = slices.Clone(members)
	for i := range members {
		members[i].name = top + members[i].name
	}
	return members
}

func writeFolder(t testing.TB, members []member) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "pets")
	for _, m := range members {
		name := filepath.Join(root, m.name)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		switch {
		case err != nil:
		case strings.HasSuffix(m.name, "/"):
			err = os.MkdirAll(name, 0o755)
		default:
			err = os.WriteFile(name, []byte(m.content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func tarOf(members []member) string {
	return encoded(func(b *bytes.Buffer) error {
		w := tar.NewWriter(b)
		for _, m := range members {
			h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}
			if strings.HasSuffix(m.name, "/") {
				h.Typeflag = tar.TypeDir
			}
			if to, ok := strings.CutPrefix(m.content, "-> "); ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if h.Size > 0 {
				if _, err := w.Write([]byte(m.content)); err != nil {
					return err
				}
			}
		}
		return w.Close()
	})
}

// zipOf packs files with and without compression.
func zipOf(members []member) string {
	return encoded(func(b *bytes.Buffer) error {
		w := zip.NewWriter(b)
		for i, m := range members {
			f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: []uint16{zip.Store, zip.Deflate}[i%2]})
			if err != nil {
				return err
			}
			if _, err := f.Write([]byte(m.content)); err != nil {
				return err
			}
		}
		return w.Close()
	})
}

func zstdOf(s string) string {
	return encoded(func(b *bytes.Buffer) error {
		w, err := zstd.NewWriter(b)
		w.Write([]byte(s))
		w.Close()
		return err
	})
}

func gzipOf(s string) string {
	return encoded(func(b *bytes.Buffer) error {
		w := gzip.NewWriter(b)
		w.Write([]byte(s))
		return w.Close()
	})
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// pixels are those of image i.
func pixels(t *testing.T, images Images, i int) []uint8 {
	t.Helper()
	var p Picture
	if err := images.Picture(&p, i); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(p.Pix)
}

// checkCats expects the set of cats.
func checkCats(t *testing.T, of string, set *Set, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", of, err)
		return
	}
	if set.Name != "pets" || set.Classes != 2 || set.Channels != 3 || set.Height != 2 || set.Width != 3 || !slices.Equal(set.ClassNames, []string{"cat", "dog"}) {
		t.Errorf("%s: a set %q of %d classes, %d channels, %d×%d", of, set.Name, set.Classes, set.Channels, set.Width, set.Height)
		return
	}
	for _, split := range []struct {
		images        Images
		first, labels []int
	}{{set.Train, []int{1}, []int{0, 0, 0, 1, 1}}, {set.Test, []int{6}, []int{0, 0, 1}}} {
		if split.images.Len() != len(split.labels) {
			t.Errorf("%s: %d images, want %d", of, split.images.Len(), len(split.labels))
			return
		}
		for i, label := range split.labels {
			v := uint8(split.first[0] + i)
			x, want := pixels(t, split.images, i), []uint8{v, v, v, v, v, v, 0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1}
			if !slices.Equal(x, want) || split.images.Label(i) != label {
				t.Errorf("%s: image %d is %v of class %d, want %v of %d", of, i, x, split.images.Label(i), want, label)
			}
		}
	}
}

// The same set from a folder and from every kind of archive. Fails if the order of images or classes depends on the file system or the
// archive, if planes are in the wrong order, if formats are derived from names, or if a top folder, val/ or hidden files are not understood.
func TestOneSetHoweverItIsKept(t *testing.T) {
	junk := []member{
		{".git/train/cat/1.png", "no image"}, {"train/.ipynb_checkpoints/1.png", "no image"}, {"train/cat/._9.png", "no image"},
		{"train/labels.csv", "no image"}, {"README", "no image"}, {"extra/deep/down/below/1.png", "no image"},
		{"val/classes.txt", "no image"},
	}
	for of, members := range map[string][]member{
		"as it is":           cats("test"),
		"val":                cats("val"),
		"valid":              cats("valid"),
		"test before val":    append(cats("test"), member{"val/cat/1.png", "no image"}, member{"val/fox/", ""}),
		"val if test is raw": append(cats("val"), member{"test/1.png", tint(1)}),
		"a top folder":       below("photos/", append(cats("test"), junk...)),
		"with other folders": append(below("photos/", cats("test")), member{"scripts/go.sh", "no image"}, member{"test.txt", "no image"}),
		"junk":               append(cats("test"), junk...),
	} {
		root := writeFolder(t, members)
		for _, kind := range []string{"", "auto", "folder"} {
			set, err := Open(Source{Kind: kind, Path: root}, 1)
			checkCats(t, of+", folder as "+kind, set, err)
		}
		plain := tarOf(members)
		for _, kind := range []string{"auto", "folder"} {
			for name, content := range map[string]string{
				"pets.tar": plain, "pets.tar.zst": zstdOf(plain), "pets.tar.gz": gzipOf(plain), "pets.tgz": zstdOf(plain), "pets": gzipOf(plain), "pets.zip": zipOf(members),
			} {
				set, err := Open(Source{Kind: kind, Path: writeFile(t, name, content)}, 1)
				checkCats(t, of+", "+name+" as "+kind, set, err)
			}
		}
	}
	set, err := Open(Source{Path: writeFile(t, "pets.tar", tarOf(below("./", cats("test"))))}, 1)
	checkCats(t, "names with ./", set, err)
	// An archive that was appended to: the later file replaces the earlier one, as when it is extracted.
	set, err = Open(Source{Path: writeFile(t, "pets.tar", tarOf(append([]member{{"train/cat/9.png", tint(77)}}, cats("test")...)))}, 1)
	checkCats(t, "one name twice", set, err)
	// A file with the name of a split is no split.
	set, err = Open(Source{Path: writeFile(t, "pets.tar", tarOf(append(below("photos/", cats("test")), member{"train", "no image"})))}, 1)
	checkCats(t, "a file train", set, err)
}

// Fails if links in a folder, to a class or an image, are not followed.
func TestLinksInAFolder(t *testing.T) {
	root := writeFolder(t, cats("test"))
	elsewhere := filepath.Join(t.TempDir(), "dogs")
	err := os.Rename(filepath.Join(root, "train/dog"), elsewhere)
	for link, to := range map[string]string{"train/dog": elsewhere, "train/cat/2": "9.png"} {
		os.Remove(filepath.Join(root, link))
		if err == nil {
			err = os.Symlink(to, filepath.Join(root, link))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := Open(Source{Path: root}, 1)
	if err != nil || set.Train.Len() != 5 {
		t.Fatalf("a folder with links: %v", err)
	}
	if !slices.Equal(pixels(t, set.Train, 1), pixels(t, set.Train, 2)) { // 2 -> 9.png
		t.Error("a link's image is not that of its target")
	}
}

// Mean and deviation compared with sums over the pixels. Fails if they are of the wrong split or channel. The set's values are below
// 255/255 and few: float64 sums are exact to 1e-12, float32 measures to 1e-7 of 1.
func TestMeasuresOfAFolder(t *testing.T) {
	set, err := Open(Source{Path: writeFolder(t, cats("test"))}, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Red 1..5, green 0..2, blue 0..1, all equally often: means 3, 1, 1/2, variances 2, 2/3, 1/4.
	for c, want := range [3][2]float32{{3, 1.41421356}, {1, 0.81649658}, {0.5, 0.5}} {
		for k, got := range []float32{set.Mean[c], set.Std[c]} {
			if d := got*255 - want[k]; d > 3e-6 || d < -3e-6 {
				t.Errorf("channel %d: mean and deviation %v %v of 255, want %v", c, set.Mean[c]*255, set.Std[c]*255, want)
			}
		}
	}
}
