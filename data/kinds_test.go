package data

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// expectSplit expects images of those labels whose pictures begin and end with those bytes.
func expectSplit(t *testing.T, of string, images Images, labels []int, first, last []uint8) {
	t.Helper()
	if images.Len() != len(labels) {
		t.Errorf("%s: %d images, want %d", of, images.Len(), len(labels))
		return
	}
	var p Picture
	for i, label := range labels {
		if err := images.Picture(&p, i); err != nil {
			t.Errorf("%s: %v", of, err)
			return
		}
		if images.Label(i) != label || p.Pix[0] != first[i] || p.Pix[len(p.Pix)-1] != last[i] {
			t.Errorf("%s: image %d of class %d from %d to %d, want class %d from %d to %d",
				of, i, images.Label(i), p.Pix[0], p.Pix[len(p.Pix)-1], label, first[i], last[i])
		}
	}
}

// keptAs calls f with the paths of a folder and of its archives.
func keptAs(t *testing.T, members []member, f func(path string)) {
	plain := tarOf(members)
	f(writeFolder(t, members))
	f(writeFile(t, "pets.tar", plain))
	f(writeFile(t, "pets.tar.gz", gzipOf(plain)))
	f(writeFile(t, "pets.tar.zst", zstdOf(plain)))
	f(writeFile(t, "pets.zip", zipOf(members)))
}

// record is labels, and a 3-channel image of n bytes that begins with from and ends with to.
func record(n int, from, to byte, labels ...byte) string {
	return string(labels) + string([]byte{from}) + strings.Repeat("\x07", n-2) + string([]byte{to})
}

func cifar10(top string) []member {
	return below(top, []member{
		{"data_batch_1.bin", record(3072, 1, 2, 9) + record(3072, 3, 4, 0)}, {"data_batch_2.bin", record(3072, 5, 6, 5)},
		{"test_batch.bin", record(3072, 7, 8, 5)}, {"readme.html", "hello"},
		{"batches.meta.txt", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"},
	})
}

func cifar100() []member {
	names := ""
	for i := range 100 {
		names += fmt.Sprintf("class %d\n", i)
	}
	return below("cifar-100-binary/", []member{
		{"train.bin", record(3072, 1, 2, 19, 99) + record(3072, 3, 4, 11, 0)}, {"test.bin", record(3072, 5, 6, 3, 99)},
		{"fine_label_names.txt", names}, {"coarse_label_names.txt", "fish\n"},
	})
}

// Fails if coarse labels are used instead of fine ones, if batches are omitted, or if files are only found at the root.
func TestCIFARIsRead(t *testing.T) {
	for _, top := range []string{"", "cifar-10-batches-bin/", "below/cifar-10-batches-bin/"} {
		keptAs(t, cifar10(top), func(path string) {
			set, err := Open(Source{Path: path}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if set.Kind != "cifar10" || set.Classes != 10 || set.ClassNames[9] != "truck" || set.Height != 32 || set.Width != 32 || set.Channels != 3 {
				t.Errorf("%s: %+v", path, set)
			}
			expectSplit(t, path, set.Train, []int{9, 0, 5}, []uint8{1, 3, 5}, []uint8{2, 4, 6})
			expectSplit(t, path, set.Test, []int{5}, []uint8{7}, []uint8{8})
		})
	}
	set, err := Open(Source{Path: filepath.Join(writeFolder(t, cifar10("")), "test_batch.bin")}, 1)
	if err != nil || set.Kind != "cifar10" || set.Train.Len() != 3 {
		t.Errorf("a file of the set: %v", err)
	}
	keptAs(t, cifar100(), func(path string) {
		set, err := Open(Source{Kind: "cifar100", Path: path}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if set.Kind != "cifar100" || set.Classes != 100 || set.ClassNames[99] != "class 99" {
			t.Errorf("%s: %s, %d classes", path, set.Kind, set.Classes)
		}
		expectSplit(t, path, set.Train, []int{99, 0}, []uint8{1, 3}, []uint8{2, 4})
		expectSplit(t, path, set.Test, []int{99}, []uint8{5}, []uint8{6})
	})
}

// idxOf is an IDX file of bytes.
func idxOf(values string, size ...uint32) string {
	head := []byte{0, 0, 8, byte(len(size))}
	for _, n := range size {
		head = binary.BigEndian.AppendUint32(head, n)
	}
	return string(head) + values
}

func mnist(prefix, test string) []member {
	return []member{
		{prefix + "train-images-idx3-ubyte", idxOf("abcdefghijkl", 2, 2, 3)}, {prefix + "train-labels-idx1-ubyte", idxOf("\x01\x03", 2)},
		{prefix + test + "-images-idx3-ubyte", idxOf("mnopqr", 1, 2, 3)}, {prefix + test + "-labels-idx1-ubyte", idxOf("\x01", 1)},
	}
}

// gzipped compresses each file by gzip.
func gzipped(members []member) []member {
	members = slices.Clone(members)
	for i, m := range members {
		members[i] = member{m.name + ".gz", gzipOf(m.content)}
	}
	return members
}

// Fails on wrong sizes, compressed files, and EMNIST's images stored column by column and letters numbered from 1.
func TestIDXIsRead(t *testing.T) {
	plain := mnist("", "t10k")
	both := append(slices.Clone(plain), gzipped(plain)...)
	mixed := append(slices.Clone(plain[:2]), gzipped(plain[2:])...)
	for _, members := range [][]member{plain, gzipped(plain), both, mixed, below("MNIST/raw/", gzipped(plain))} {
		keptAs(t, members, func(path string) {
			set, err := Open(Source{Path: path}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if set.Kind != "idx" || set.Classes != 4 || set.Channels != 1 || set.Height != 2 || set.Width != 3 || set.Name != "pets" {
				t.Errorf("%s: %+v", path, set)
			}
			expectSplit(t, path, set.Train, []int{1, 3}, []uint8("ag"), []uint8("fl"))
			expectSplit(t, path, set.Test, []int{1}, []uint8{'m'}, []uint8{'r'})
		})
	}
	root := writeFolder(t, append(gzipped(mnist("emnist-letters-", "test")), gzipped(mnist("emnist-digits-", "test"))...))
	set, err := Open(Source{Path: filepath.Join(root, "emnist-letters-train-images-idx3-ubyte.gz")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var p Picture
	if err := set.Train.Picture(&p, 0); err != nil || string(p.Pix) != "acebdf" || set.Train.Label(1) != 2 || set.Classes != 3 || set.Name != "emnist-letters" {
		t.Errorf("EMNIST's letters: %q of class %d, %v", p.Pix, set.Train.Label(1), err)
	}
	if _, err = Open(Source{Path: root}, 1); err == nil || !strings.Contains(err.Error(), "several sets (emnist-digits-, emnist-letters-)") {
		t.Errorf("two sets in a folder: %v", err)
	}
}

// stl10 is images whose red plane has a second pixel of its own, below the first, for planes run column by column.
func stl10() []member {
	image := func(first, below, last byte) string {
		return "" + string([]byte{first, below}) + strings.Repeat("\x07", 3*96*96-3) + string([]byte{last})
	}
	return below("stl10_binary/", []member{
		{"train_X.bin", image(1, 2, 3) + image(4, 5, 6)}, {"train_y.bin", "\x0a\x01"}, {"test_X.bin", image(7, 8, 9)}, {"test_y.bin", "\x01"},
		{"unlabeled_X.bin", "no multiple"}, {"class_names.txt", "airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"},
	})
}

// Fails if planes are read row by row, or labels not numbered from 1.
func TestSTL10(t *testing.T) {
	keptAs(t, stl10(), func(path string) {
		set, err := Open(Source{Path: path}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if set.Kind != "stl10" || set.Classes != 10 || set.ClassNames[0] != "airplane" || set.Height != 96 || set.Width != 96 {
			t.Errorf("%s: %+v", path, set)
		}
		expectSplit(t, path, set.Train, []int{9, 0}, []uint8{1, 4}, []uint8{3, 6})
		expectSplit(t, path, set.Test, []int{0}, []uint8{7}, []uint8{9})
		var p Picture
		if err := set.Train.Picture(&p, 0); err != nil || p.Pix[1] != 7 || p.Pix[96] != 2 {
			t.Errorf("%s: the pixel right of the first is %d, below it %d", path, p.Pix[1], p.Pix[96])
		}
	})
}

// names lists the images of a split by the one value that tint gave them.
func values(t *testing.T, images Images) (reds []uint8, labels []int) {
	t.Helper()
	var p Picture
	for i := range images.Len() {
		if err := images.Picture(&p, i); err != nil {
			t.Fatal(err)
		}
		reds, labels = append(reds, p.Pix[0]), append(labels, images.Label(i))
	}
	return reds, labels
}

// Caltech-256 as distributed: no split, and other files in two classes. Fails if these are taken for images, if the split depends on more
// than its seed, or if it omits a class from either part.
func TestCaltech256(t *testing.T) {
	members := []member{{"256_ObjectCategories/056.dog/greg/vision309/1.jpg", "no image"}, {"256_ObjectCategories/198.spider/RENAME2", "no image"}}
	for i := range 10 {
		members = append(members, member{fmt.Sprintf("256_ObjectCategories/056.dog/056_%04d.jpg", i), tint(uint8(i))},
			member{fmt.Sprintf("256_ObjectCategories/198.spider/198_%04d.JPG", i), tint(uint8(10 + i))})
	}
	var before []uint8
	keptAs(t, members, func(path string) {
		set, err := Open(Source{Path: path, TestFraction: 0.3}, 1)
		if err != nil {
			t.Fatal(err)
		}
		train, _ := values(t, set.Train)
		test, labels := values(t, set.Test)
		if len(train) != 14 || !slices.Equal(labels, []int{0, 0, 0, 1, 1, 1}) || !slices.Equal(set.ClassNames, []string{"056.dog", "198.spider"}) {
			t.Errorf("%s: %d for training, labels of the test %v", path, len(train), labels)
		}
		if before != nil && !slices.Equal(test, before) {
			t.Errorf("%s: another split, %v instead of %v", path, test, before)
		}
		before = test
		all := append(train, test...)
		slices.Sort(all)
		for i, v := range all {
			if int(v) != i {
				t.Fatalf("%s: images %v", path, all)
			}
		}
		if set, err = Open(Source{Path: path, TestFraction: 0.3}, 2); err != nil {
			t.Fatal(err)
		}
		if other, _ := values(t, set.Test); slices.Equal(other, before) {
			t.Error("another seed, the same split")
		}
	})
}

// SUN397's classes, at two depths, with and without its split lists. Fails if classes are truncated to one level, or the lists ignored.
func TestSUN397(t *testing.T) {
	members := below("SUN397/", []member{
		{"README.txt", "hello"}, {"ClassName.txt", "/a/abbey\n/c/church/indoor\n"},
		{"a/abbey/1.jpg", tint(1)}, {"a/abbey/2.jpg", tint(2)}, {"a/abbey/3.jpg", tint(3)},
		{"c/church/indoor/1.jpg", tint(4)}, {"c/church/indoor/2.jpg", tint(5)}, {"c/church/outdoor/1.jpg", tint(6)}, {"c/church/outdoor/2.jpg", tint(7)},
	})
	classes := []string{"a/abbey", "c/church/indoor", "c/church/outdoor"}
	keptAs(t, members, func(path string) {
		set, err := Open(Source{Path: path, TestFraction: 0.5}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(set.ClassNames, classes) || set.Train.Len() != 3 || set.Test.Len() != 4 {
			t.Errorf("%s: %v, %d and %d images", path, set.ClassNames, set.Train.Len(), set.Test.Len())
		}
	})
	lists := func(at string) []member {
		return []member{{at + "Training_01.txt", "/c/church/outdoor/2.jpg\n/a/abbey/3.jpg\n/c/church/indoor/1.jpg\n"}, {at + "Testing_01.txt", "/a/abbey/1.jpg\r\n"}}
	}
	for _, at := range []string{"SUN397/", ""} {
		keptAs(t, append(slices.Clone(members), lists(at)...), func(path string) {
			set, err := Open(Source{Path: path}, 1)
			if err != nil {
				t.Fatal(err)
			}
			train, labels := values(t, set.Train)
			test, _ := values(t, set.Test)
			if !slices.Equal(train, []uint8{7, 3, 4}) || !slices.Equal(labels, []int{2, 0, 1}) || !slices.Equal(test, []uint8{1}) {
				t.Errorf("%s, lists in %s: %v of %v, and %v", path, at, train, labels, test)
			}
			// By a class list the other classes' images of the lists are passed over.
			set, err = Open(Source{Path: path, Classes: writeFile(t, "list", "# two\n/a/abbey 0\n")}, 1)
			if err != nil || !slices.Equal(set.ClassNames, []string{"a/abbey"}) || set.Train.Len() != 1 {
				t.Errorf("%s, lists in %s, one class: %v", path, at, err)
			}
		})
	}
	_, err := Open(Source{Path: writeFolder(t, append(slices.Clone(members), append(lists("SUN397/"), member{"SUN397/Testing_01.txt", "/a/abbey/9.jpg"})...))}, 1)
	if err == nil || !strings.Contains(err.Error(), "Testing_01.txt: names /a/abbey/9.jpg, which is not in") {
		t.Errorf("a list of what is not there: %v", err)
	}
}

// A subset of a larger set's class folders, as ImageNet100 is. Fails if classes are numbered in the list's order, or a missing one is accepted.
func TestClassList(t *testing.T) {
	members := append(cats("val"), member{"train/ant/1.png", tint(9)}, member{"val/ant/1.png", tint(9)}, member{"val/extra/", ""})
	keptAs(t, members, func(path string) {
		set, err := Open(Source{Path: path, Classes: writeFile(t, "classes.txt", "dog n02084071, a dog\n\n# and\ncat\n")}, 1)
		checkCats(t, path, set, err)
		_, err = Open(Source{Path: path, Classes: writeFile(t, "classes.txt", "cat\ncow\n")}, 1)
		if err == nil || !strings.Contains(err.Error(), `data.classes names "cow", which is none of the 3 class folders (ant, cat, dog)`) {
			t.Errorf("%s: %v", path, err)
		}
	})
	_, err := Open(Source{Path: writeFolder(t, cifar10("")), Classes: writeFile(t, "classes.txt", "cat\n")}, 1)
	if err == nil || !strings.Contains(err.Error(), "data.classes names class folders, but the set (cifar10) has none") {
		t.Errorf("a list for a set without class folders: %v", err)
	}
	for content, words := range map[string]string{"": "no class, expected one class folder a line", "\n# cat\n": "no class, expected"} {
		_, err := Open(Source{Path: writeFolder(t, cats("test")), Classes: writeFile(t, "classes.txt", content)}, 1)
		if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "correct data.classes") {
			t.Errorf("an empty list: %v", err)
		}
	}
}
