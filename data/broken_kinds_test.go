package data

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// changed is members with the content of one of them replaced.
func changed(members []member, name, content string) []member {
	members = slices.Clone(members)
	for i, m := range members {
		if filepath.Base(m.name) == name {
			members[i].content = content
			return members
		}
	}
	panic(name)
}

// without is members less one.
func without(members []member, name string) []member {
	return slices.DeleteFunc(slices.Clone(members), func(m member) bool { return filepath.Base(m.name) == name })
}

// flipped is content with a bit of a byte flipped, from its end where at is negative.
func flipped(content string, at int) string {
	b := []byte(content)
	b[(at+len(b))%len(b)] ^= 4
	return string(b)
}

// Every file of every kind of raw pixels truncated, extended, emptied, removed or changed in one byte. Fails if damage is accepted as
// data, or if an error does not name the file and the position in it.
func TestBrokenPixelFilesAreErrors(t *testing.T) {
	for _, k := range []struct {
		name    string
		members []member
		words   []string
	}{
		{"label", changed(cifar10(""), "data_batch_2.bin", record(3072, 1, 2, 4)+record(3072, 1, 2, 10)), []string{"data_batch_2.bin: at byte 3073 label 10, expected 0..9", "download it again"}},
		{"cut", changed(cifar10(""), "test_batch.bin", record(3072, 1, 2, 4)+record(3000, 1, 2, 1)), []string{"test_batch.bin: 6074 bytes, expected a multiple of 3073", "the record at byte 3073 is incomplete"}},
		{"empty", changed(cifar10(""), "test_batch.bin", ""), []string{"test_batch.bin: 0 bytes, expected a multiple of 3073"}},
		{"missing", without(cifar10(""), "test_batch.bin"), []string{"test_batch.bin: no such file", "next to the set's other files"}},
		{"test alone", without(without(cifar10(""), "data_batch_1.bin"), "data_batch_2.bin"), []string{"no data_batch_*.bin"}},
		{"names", changed(cifar10(""), "batches.meta.txt", "cat\ndog\n"), []string{"batches.meta.txt: names of 2 classes, expected 10"}},
		{"class of the test alone", changed(cifar10(""), "test_batch.bin", record(3072, 1, 2, 9)+record(3072, 1, 2, 4)), []string{"test_batch.bin: at byte 3073 label 4, which no training image has"}},

		{"CIFAR-100 label", changed(cifar100(), "train.bin", record(3072, 1, 2, 0, 100)), []string{"train.bin: at byte 1 label 100, expected 0..99"}},
		{"CIFAR-100 class of the test alone", changed(cifar100(), "test.bin", record(3072, 1, 2, 19, 7)), []string{"test.bin: at byte 1 label 7, which no training image has"}},
		{"CIFAR-100 cut", changed(cifar100(), "train.bin", record(3072, 1, 2, 0, 1)+record(3000, 1, 2, 0, 1)), []string{"train.bin: 6076 bytes, expected a multiple of 3074", "the record at byte 3074 is incomplete"}},
		{"CIFAR-100 empty", changed(cifar100(), "train.bin", ""), []string{"train.bin: 0 bytes, expected a multiple of 3074"}},
		{"CIFAR-100 as CIFAR-10", changed(cifar100(), "test.bin", record(3072, 1, 2, 0)), []string{"test.bin: 3073 bytes, expected a multiple of 3074"}},
		{"CIFAR-100 missing", without(cifar100(), "train.bin"), []string{"train.bin: no such file"}},

		{"magic", changed(mnist("", "t10k"), "train-images-idx3-ubyte", "\x00\x00\x0d\x03"+strings.Repeat("\x00", 90)), []string{"train-images-idx3-ubyte: begins with the bytes 00 00 0d 03, expected 00 00 08 03"}},
		{"images as labels", changed(mnist("", "t10k"), "t10k-labels-idx1-ubyte", idxOf("mnopqr", 1, 2, 3)), []string{"t10k-labels-idx1-ubyte: begins with the bytes 00 00 08 03, expected 00 00 08 01"}},
		{"header", changed(mnist("", "t10k"), "train-images-idx3-ubyte", "\x00\x00\x08\x03\x00"), []string{"train-images-idx3-ubyte: ends at byte 5", "a header of 16 bytes"}},
		{"empty", changed(mnist("", "t10k"), "t10k-images-idx3-ubyte", ""), []string{"t10k-images-idx3-ubyte: ends at byte 0"}},
		{"no images", changed(mnist("", "t10k"), "t10k-images-idx3-ubyte", idxOf("", 0, 2, 3)), []string{"t10k-images-idx3-ubyte: at byte 4 a dimension of 0"}},
		{"too many", changed(mnist("", "t10k"), "train-images-idx3-ubyte", idxOf("abc", 1<<31, 1<<31, 3)), []string{"train-images-idx3-ubyte: at byte 8 a dimension of 2147483648"}},
		{"cut", changed(mnist("", "t10k"), "train-images-idx3-ubyte", idxOf("abcdefghijk", 2, 2, 3)), []string{"train-images-idx3-ubyte: 11 bytes from byte 16 on, expected 12"}},
		{"more", changed(mnist("", "t10k"), "train-labels-idx1-ubyte", idxOf("\x01\x03\x01", 2)), []string{"train-labels-idx1-ubyte: 3 bytes from byte 8 on, expected 2"}},
		{"sizes", changed(mnist("", "t10k"), "t10k-images-idx3-ubyte", idxOf("mnopqr", 1, 3, 2)), []string{"t10k-images-idx3-ubyte: at byte 8 images of 2×3 pixels, expected 3×2"}},
		{"counts", changed(mnist("", "t10k"), "train-labels-idx1-ubyte", idxOf("\x01", 1)), []string{"train-labels-idx1-ubyte: at byte 4 1 labels, expected 2"}},
		{"label", changed(mnist("", "t10k"), "t10k-labels-idx1-ubyte", idxOf("\x04", 1)), []string{"t10k-labels-idx1-ubyte: at byte 8 label 4, expected 0..3"}},
		{"class between", changed(mnist("", "t10k"), "t10k-labels-idx1-ubyte", idxOf("\x02", 1)), []string{"t10k-labels-idx1-ubyte: at byte 8 label 2, which no training image has"}},
		{"packed and cut", changed(gzipped(mnist("", "t10k")), "train-images-idx3-ubyte.gz", gzipOf(idxOf("abcdefghijkl", 2, 2, 3))[:30]), []string{"train-images-idx3-ubyte.gz: ", "EOF"}},
		{"packed and flipped", changed(gzipped(mnist("", "t10k")), "train-images-idx3-ubyte.gz", flipped(gzipOf(idxOf("abcdefghijkl", 2, 2, 3)), -5)), []string{"train-images-idx3-ubyte.gz: after its header: ", "checksum"}},
		{"labels missing", without(mnist("", "t10k"), "train-labels-idx1-ubyte"), []string{"train-labels-idx1-ubyte: no such file"}},
		{"test missing", without(mnist("", "t10k"), "t10k-images-idx3-ubyte"), []string{"files of images for one split alone (train-images-idx3-ubyte)"}},

		{"STL-10 label", changed(stl10(), "train_y.bin", "\x0a\x00"), []string{"train_y.bin: at byte 1 label 0, expected 1..10"}},
		{"STL-10 label beyond", changed(stl10(), "test_y.bin", "\x0b"), []string{"test_y.bin: at byte 0 label 11, expected 1..10"}},
		{"STL-10 class of the test alone", changed(stl10(), "test_y.bin", "\x05"), []string{"test_y.bin: at byte 0 label 5, which no training image has"}},
		{"STL-10 empty", changed(stl10(), "test_y.bin", ""), []string{"test_X.bin: 27648 bytes, expected 0"}},
		{"STL-10 empty images", changed(stl10(), "train_X.bin", ""), []string{"train_X.bin: 0 bytes, expected 55296"}},
		{"STL-10 cut", changed(stl10(), "train_X.bin", "cut"), []string{"train_X.bin: 3 bytes, expected 55296, an image of 3×96×96 for each of the 2 labels of ", "train_y.bin"}},
		{"STL-10 counts", changed(stl10(), "test_y.bin", "\x01\x01"), []string{"test_X.bin: 27648 bytes, expected 55296"}},
		{"STL-10 missing", without(stl10(), "test_y.bin"), []string{"test_y.bin: no such file"}},
	} {
		keptAs(t, k.members, func(path string) {
			_, err := Open(Source{Path: path}, 1)
			for _, w := range append(k.words, "again") {
				if w == "again" && strings.Contains(k.name, "class") { // a label to be corrected, perhaps
					continue
				}
				if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "goroutine") {
					t.Errorf("%s, %s: error %v, want one that says %s", k.name, path, err, w)
				}
			}
		})
	}
}

// Fails if a zip with a truncation or a flipped bit is accepted: each of its images has a checksum.
func TestBrokenZipIsAnError(t *testing.T) {
	whole := zipOf(cats("test"))
	for n := 1; n < len(whole); n += 29 {
		if _, err := Open(Source{Path: writeFile(t, "x.zip", whole[:n])}, 1); err == nil || !strings.Contains(err.Error(), "again") && n > 4 {
			t.Errorf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
	at := strings.Index(whole, "\x89PNG") + 40
	_, err := Open(Source{Path: writeFile(t, "x.zip", flipped(whole, at))}, 1)
	if err == nil || !strings.Contains(err.Error(), "x.zip, byte ") || !strings.Contains(err.Error(), "damaged in its archive") {
		t.Errorf("a bit of an image flipped: %v", err)
	}
	// Bit 0 of the flags, in the local header and in the directory: encrypted.
	locked := []byte(strings.NewReplacer("PK\x03\x04\x14\x00\x08", "PK\x03\x04\x14\x00\x09", "PK\x01\x02\x14\x03\x14\x00\x08", "PK\x01\x02\x14\x03\x14\x00\x09",
		"PK\x01\x02\x14\x00\x14\x00\x08", "PK\x01\x02\x14\x00\x14\x00\x09").Replace(whole))
	_, err = Open(Source{Path: writeFile(t, "x.zip", string(locked))}, 1)
	if err == nil || !strings.Contains(err.Error(), "encrypted") || !strings.Contains(err.Error(), "without a password") {
		t.Errorf("an encrypted image: %v", err)
	}
}
