package survey

import (
	"bytes"
	"errors"
	"image/png"
	"reflect"
	"strings"
	"testing"

	"lte/data"
)

// collection is images of those labels; image i is 2×(3+i) pixels in 3 channels of one colour, 10·i; image broken can't be read.
type collection struct {
	labels []int
	broken int
}

func (c collection) Len() int        { return len(c.labels) }
func (c collection) Label(i int) int { return c.labels[i] }
func (c collection) Picture(dst *data.Picture, i int) error {
	if i == c.broken {
		return errors.New("image 1 of pets.tar: torn")
	}
	dst.Reset(3, 3+i, 2)
	for k := range dst.Pix {
		dst.Pix[k] = uint8(10 * i)
	}
	return nil
}

func pets() *data.Set {
	return &data.Set{Kind: "folder", Name: "pets", Classes: 2, ClassNames: []string{"cat", "dog"}, Shape: data.Shape{Channels: 3},
		Train: collection{[]int{0, 1, 1, 1}, 1}, Test: collection{[]int{1, 0}, -1}}
}

// Fails if images are counted for the other split, if width and height are exchanged, or if unreadable images are omitted.
func TestReportCountsImages(t *testing.T) {
	got := Look(pets(), 0, 3)
	want := Report{Kind: "folder", Name: "pets", Classes: 2, ClassNames: []string{"cat", "dog"}, Channels: 3,
		Train: Split{4, []int{1, 3}}, Test: Split{2, []int{1, 1}},
		Looked: 6, Smallest: Size{2, 3}, Middle: Size{2, 4}, Largest: Size{2, 6}, Sizes: 4, Unreadable: []string{"image 1 of pets.tar: torn"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if few := Look(pets(), 3, 1); few.Looked != 3 || few.Smallest != (Size{2, 3}) || few.Largest != (Size{2, 5}) || len(few.Unreadable) != 0 {
		t.Errorf("images 0, 2 and 4: %+v", few)
	}
}

// Fails if bars do not correspond to their numbers, or if each of hundreds of classes has a line.
func TestReportText(t *testing.T) {
	var b bytes.Buffer
	if err := Look(pets(), 0, 1).Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"kind        folder", "training    4 images, 1 to 3 a class", "test        2 images, 1 to 1 a class",
		"sizes       2×3 to 2×6, the middle one 2×4; 4 different, of all images", "unreadable  1 of all images", "  image 1 of pets.tar: torn",
		"cat        1 █████████████", "dog        3 ████████████████████████████████████████",
	} {
		if !strings.Contains(b.String(), line+"\n") && !strings.Contains(b.String(), line+"▌\n") {
			t.Errorf("no line %q in\n%s", line, b.String())
		}
	}
	b.Reset()
	r := Report{Classes: 60, Looked: 1, Train: Split{0, make([]int, 60)}, Test: Split{0, make([]int, 60)}}
	for c := range r.Train.PerClass {
		r.Train.PerClass[c] = 700 + c // 60 sizes in ranges of 6
	}
	if err := r.Write(&b); err != nil || !strings.Contains(b.String(), "700 to 705        6 █") || !strings.Contains(b.String(), "754 to 759        6 █") {
		t.Errorf("%s%v", b.String(), err)
	}
}

// Fails if an image is in another class's row, if a picture is distorted, or if an unreadable one is silently omitted.
func TestSheetShowsEveryClass(t *testing.T) {
	var b bytes.Buffer
	if err := Sheet(&b, pets(), 20, 2); err != nil {
		t.Fatal(err)
	}
	sheet, err := png.Decode(&b)
	if err != nil || sheet.Bounds().Dx() != text+2*68+4 || sheet.Bounds().Dy() != 2*68+4 {
		t.Fatalf("%v, %v", sheet.Bounds(), err)
	}
	at := func(x, y int) [3]uint32 {
		r, g, b, _ := sheet.At(x, y).RGBA()
		return [3]uint32{r >> 8, g >> 8, b >> 8}
	}
	for _, k := range []struct {
		x, y int
		want [3]uint32
	}{
		{text + 32, 4 + 32, [3]uint32{0, 0, 0}},            // the cat, black, 43 of 64 pixels wide
		{text + 5, 4 + 32, [3]uint32{255, 255, 255}},       // beside it
		{text + 68 + 32, 4 + 32, [3]uint32{255, 255, 255}}, // no second one
		{text + 32, 4 + 68 + 32, [3]uint32{200, 0, 0}},     // the dog that cannot be read
		{text + 68 + 32, 4 + 68 + 32, [3]uint32{20, 20, 20}},
	} {
		if got := at(k.x, k.y); got != k.want {
			t.Errorf("at %d, %d: %v, want %v", k.x, k.y, got, k.want)
		}
	}
}

// Fails if the name of a set, a class or a file is printed with a line break or a control sequence.
func TestWriteQuotesNames(t *testing.T) {
	set := pets()
	set.Name, set.ClassNames = "a\nset", []string{"c\x1b[2Jat", "\u202edog"}
	r := Look(set, 0, 1)
	r.Unreadable = []string{"1\n.png: torn"}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`name        a\nset`, `  1\n.png: torn`, `c\x1b[2Jat `, `\u202edog `} {
		if !strings.Contains(b.String(), "\n"+line) {
			t.Errorf("no line that begins %s in\n%q", line, b.String())
		}
	}
	if err := Sheet(&bytes.Buffer{}, set, 20, 2); err != nil {
		t.Error(err)
	}
}
