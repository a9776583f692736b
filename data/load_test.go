package data

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Images of several sizes are decoded on demand, and only with data.size. Fails if only the images of the first one's size are read, or if
// an error does not name the image.
func TestImagesOfSeveralSizes(t *testing.T) {
	members := append(cats("test"), member{"train/cat/0.png", pngOf(5, 4, 9)})
	keptAs(t, members, func(path string) {
		if _, err := Open(Source{Path: path}, 1); err == nil || !strings.Contains(err.Error(), "expected 5×4 like ") || !strings.Contains(err.Error(), "set data.size") {
			t.Errorf("%s: without data.size: %v", path, err)
		}
		set, err := Open(Source{Path: path, Size: 2, Fit: Fit{Keep: 1}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		reds, _ := values(t, set.Train)
		var p Picture
		if err := set.Train.Picture(&p, 0); err != nil || p.Width != 5 || p.Height != 4 || !slices.Equal(reds, []uint8{9, 1, 2, 3, 4, 5}) || set.Height != 2 {
			t.Errorf("%s: %v, the first one %d×%d, %v", path, reds, p.Width, p.Height, err)
		}
		// 20 pixels of 9, 6 each of 1 to 5, of 255.
		if mean := set.Mean[0] * 255; mean < 5.3999 || mean > 5.4001 {
			t.Errorf("%s: mean %v, want 5.4", path, mean)
		}
	})
	// One of many, which probing a few does not find.
	var many []member
	for i := range 64 {
		many = append(many, member{fmt.Sprintf("train/cat/%02d.png", i), pngOf(map[bool]int{true: 4, false: 5}[i == 1], 4, uint8(i))})
	}
	set, err := Open(Source{Path: writeFile(t, "many.tar", tarOf(append(many, member{"test/cat/1.png", pngOf(5, 4, 1)}, member{"test/cat/2.png", pngOf(5, 4, 1)}))), Size: 2, Fit: Fit{Keep: 1}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var p Picture
	if err := set.Train.Picture(&p, 1); err != nil || p.Width != 4 {
		t.Errorf("the one of another size is %d wide, %v", p.Width, err)
	}
	broken := append(slices.Clone(members), member{"train/dog/z.png", "hello"})
	path := writeFile(t, "pets.zip", zipOf(broken))
	if _, err := Open(Source{Path: path, Size: 2, Fit: Fit{Keep: 1}}, 1); err == nil || !strings.Contains(err.Error(), `train/dog/z.png: begins with "hello"`) {
		t.Errorf("a broken image among those that are measured: %v", err)
	}
	if set, err = Open(Source{Path: path, Unread: true}, 1); err != nil {
		t.Fatal(err)
	}
	if err := set.Train.Picture(&p, 6); err == nil || !strings.Contains(err.Error(), "pets.zip, byte ") || !strings.Contains(err.Error(), `train/dog/z.png: begins with "hello"`) {
		t.Errorf("a broken image, asked for: %v", err)
	}
}

// A set that is too large for memory is not decoded when it is opened. Its images are headers alone: decoding one would fail.
func TestLargeSetsStayEncoded(t *testing.T) {
	const side = 11000 // 363 MB decoded
	header := "BM" + strings.Repeat("\x00", 8) + "\x36\x00\x00\x00\x28\x00\x00\x00" +
		string(binary.LittleEndian.AppendUint32(nil, side)) + string(binary.LittleEndian.AppendUint32(nil, side)) + "\x01\x00\x18\x00" + strings.Repeat("\x00", 24)
	var members []member
	for i := range 6 {
		members = append(members, member{fmt.Sprintf("train/cat/%d.bmp", i), header}, member{fmt.Sprintf("test/cat/%d.bmp", i), header})
	}
	set, err := Open(Source{Path: writeFile(t, "cats.tar", tarOf(members)), Normalize: "half"}, 1)
	if err != nil || set.Height != side || set.Train.Len() != 6 {
		t.Errorf("%v", err)
	}
	if _, err = Open(Source{Path: writeFile(t, "cats.tar", tarOf(append(members[:1:1], members[1]))), Normalize: "half"}, 1); err == nil || !strings.Contains(err.Error(), "ends too early") {
		t.Errorf("two of them, which memory can hold: %v", err)
	}
}

// Fails if a plain tar is read into memory: later changes of the file are noticed.
func TestPlainTarsAreReadInPlace(t *testing.T) {
	path := writeFile(t, "pets.tar", tarOf(append(cats("test"), member{"train/cat/0.png", pngOf(5, 4, 9)})))
	set, err := Open(Source{Path: path, Unread: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 600); err != nil {
		t.Fatal(err)
	}
	var p Picture
	if err := set.Train.Picture(&p, 5); err == nil || !strings.Contains(err.Error(), "the archive changed since it was opened") {
		t.Errorf("of a tar cut after it was opened: %v", err)
	}
}

// Fails if a sparse file, whose holes tar -S omits, is read as if it were stored completely.
func TestSparseTar(t *testing.T) {
	root := writeFolder(t, cifar10(""))
	name := filepath.Join(root, "data_batch_1.bin")
	const records = 20
	err := os.Truncate(name, 0)
	if err == nil {
		err = os.Truncate(name, records*3073)
	}
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteAt([]byte{9}, records*3073-1)
			f.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "pax"} {
		archive := filepath.Join(t.TempDir(), "cifar.tar")
		if out, err := exec.Command("tar", "-C", root, "--format="+format, "-cSf", archive, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if info, err := os.Stat(archive); err != nil || info.Size() > 40000 {
			t.Fatalf("tar kept the holes: %v", err)
		}
		set, err := Open(Source{Path: archive}, 1)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		var p Picture
		if err := set.Train.Picture(&p, records-1); err != nil || set.Train.Len() != records+1 || p.Pix[0] != 0 || p.Pix[3071] != 9 {
			t.Errorf("%s: %d images, the last one from %d to %d, %v", format, set.Train.Len(), p.Pix[0], p.Pix[3071], err)
		}
	}
}
