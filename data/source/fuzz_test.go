package source

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Files of small sets as seeds, with invalid images: they are not decoded here.
var (
	folderSet = map[string]string{"train/cat/1.jpg": "one", "train/dog/1.jpg": "two", "test/cat/1.jpg": "three", "test/dog/2.jpg": ""}
	nestedSet = map[string]string{"SUN397/a/abbey/1.jpg": "x", "SUN397/c/church/indoor/1.jpg": "y",
		"SUN397/Training_01.txt": "/a/abbey/1.jpg\n", "SUN397/Testing_01.txt": "/a/abbey/1.jpg\n"}
	shardSet   = map[string]string{"0.jpg": "x", "0.cls": "1\n", "1.png": "y", "1.cls": "0", "2.jpg": "", "2.cls": "1", "2.json": "{}"}
	caltechSet = map[string]string{"256_ObjectCategories/001.ak47/001_0001.jpg": "x", "256_ObjectCategories/001.ak47/RENAME2": "y"}
	idxSet     = map[string]string{"train-images-idx3-ubyte": "\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02abcd", "train-labels-idx1-ubyte": "\x00\x00\x08\x01\x00\x00\x00\x02\x01\x00",
		"t10k-images-idx3-ubyte": "\x00\x00\x08\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02ef", "t10k-labels-idx1-ubyte": "\x00\x00\x08\x01\x00\x00\x00\x01\x01"}
	cifarSet = map[string]string{"data_batch_1.bin": "\x01" + strings.Repeat("p", 3072), "test_batch.bin": "\x01" + strings.Repeat("p", 3072)}
)

func tarred(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o644})
		_, _ = w.Write([]byte(files[name]))
	}
	_ = w.Close()
	return b.Bytes()
}

func zippedUp(files map[string]string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, _ := w.Create(name)
		_, _ = f.Write([]byte(files[name]))
	}
	_ = w.Close()
	return b.Bytes()
}

// reads reads all that can be read of an archive: no panic, and a set that holds what Open promises.
func reads(t *testing.T, content []byte) {
	p, err := indexArchive(bytes.NewReader(content), int64(len(content)), "fuzz.tar")
	if p == nil || err != nil {
		return
	}
	for _, l := range append([]layout{{kind: "auto"}}, layouts()...) {
		if set, err := readFileSystem(p, Options{Kind: l.kind}); err == nil {
			promised(t, set)
		}
	}
}

func promised(t *testing.T, set *Set) {
	t.Helper()
	_ = set.check()
	for _, s := range []Split{set.Train, set.Test} {
		for _, l := range s.Labels {
			if l < 0 || int(l) >= len(set.Classes) {
				t.Fatalf("label %d of %d classes", l, len(set.Classes))
			}
		}
		n := len(s.Labels)
		if s.Pixels != nil && len(s.Pixels) != n*set.Channels*set.Height*set.Width || s.Pixels == nil && len(s.Files) != n {
			t.Fatalf("%d labels, %d bytes of pixels, %d files", n, len(s.Pixels), len(s.Files))
		}
		for _, f := range s.Files {
			_, _ = f.Read(nil)
			_ = f.String()
		}
	}
}

func FuzzTar(f *testing.F) {
	for _, set := range []map[string]string{folderSet, nestedSet, shardSet, caltechSet, idxSet} {
		f.Add(tarred(set))
	}
	f.Fuzz(reads)
}

func FuzzZip(f *testing.F) {
	for _, set := range []map[string]string{folderSet, nestedSet, shardSet, caltechSet, idxSet} {
		f.Add(zippedUp(set))
	}
	f.Fuzz(reads)
}

// FuzzPacked is of archives compressed by gzip and zstd.
func FuzzPacked(f *testing.F) {
	for _, set := range []map[string]string{folderSet, shardSet} {
		var g, z bytes.Buffer
		w := gzip.NewWriter(&g)
		_, _ = w.Write(tarred(set))
		_ = w.Close()
		e, _ := zstd.NewWriter(&z)
		_, _ = e.Write(tarred(set))
		_ = e.Close()
		f.Add(g.Bytes())
		f.Add(z.Bytes())
	}
	f.Fuzz(reads)
}

// placeOf is an archive of those files, without its bytes.
func placeOf(files map[string]string) *archive {
	a := newArchive("fuzz")
	for name, content := range files {
		a.add(name, memoryFile{bytes: []byte(content)}, nil)
	}
	return a
}

// with is a set with some files' content replaced: name, content, name, content, ...
func with(files map[string]string, pairs ...string) *archive {
	files = maps.Clone(files)
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = pairs[i+1]
	}
	return placeOf(files)
}

func FuzzIDX(f *testing.F) {
	f.Add(idxSet["train-images-idx3-ubyte"], idxSet["train-labels-idx1-ubyte"], false)
	f.Add(idxSet["t10k-images-idx3-ubyte"], idxSet["t10k-labels-idx1-ubyte"], true)
	f.Fuzz(func(t *testing.T, images, labels string, letters bool) {
		p := with(idxSet, "train-images-idx3-ubyte", images, "train-labels-idx1-ubyte", labels)
		if letters {
			p = placeOf(map[string]string{"emnist-letters-train-images-idx3-ubyte": images, "emnist-letters-train-labels-idx1-ubyte": labels,
				"emnist-letters-test-images-idx3-ubyte": images, "emnist-letters-test-labels-idx1-ubyte": labels})
		}
		if set, err := readFileSystem(p, Options{Kind: "idx"}); err == nil {
			promised(t, set)
		}
	})
}

// FuzzRecords is of CIFAR's and STL-10's files.
func FuzzRecords(f *testing.F) {
	record := cifarSet["data_batch_1.bin"]
	f.Add(record, "\x0a\x01", "a\nb\n")
	f.Add("\x13"+record, "\x01", strings.Repeat("class\n", 10))
	f.Fuzz(func(t *testing.T, records, labels, names string) {
		images := strings.Repeat("i", 3*96*96*min(len(labels), 4))
		for kind, p := range map[string]fileSystem{
			"cifar10":  with(cifarSet, "data_batch_1.bin", records, "batches.meta.txt", names),
			"cifar100": placeOf(map[string]string{"train.bin": records, "test.bin": records}),
			"stl10":    placeOf(map[string]string{"train_X.bin": images, "train_y.bin": labels, "test_X.bin": images, "test_y.bin": labels}),
		} {
			if set, err := readFileSystem(p, Options{Kind: kind}); err == nil {
				promised(t, set)
			}
		}
	})
}

// FuzzSample is of names and labels in a shard.
func FuzzSample(f *testing.F) {
	f.Add("0.cls", "1", "0.jpg", "a/b.c.d", false)
	f.Add("dir/x.PNG", "-1", "dir/x.cls", "0.0", true)
	f.Fuzz(func(t *testing.T, name, content, other, text string, both bool) {
		files := map[string]string{name: content, other: text}
		if both {
			maps.Copy(files, shardSet)
		}
		if set, err := readFileSystem(placeOf(files), Options{Kind: "webdataset"}); err == nil {
			promised(t, set)
		}
		_ = splitOf(name)
	})
}

// FuzzLists is of SUN397's lists.
func FuzzLists(f *testing.F) {
	f.Add(nestedSet["SUN397/Training_01.txt"], "# nothing\r\n/c/church/indoor/1.jpg")
	f.Fuzz(func(t *testing.T, training, testing string) {
		p := with(nestedSet, "SUN397/Training_01.txt", training, "SUN397/Testing_01.txt", testing)
		if set, err := readFileSystem(p, Options{Kind: "auto"}); err == nil {
			promised(t, set)
		}
		for _, line := range linesOf([]byte(training)) {
			if strings.TrimSpace(line) != line || line == "" {
				t.Fatalf("line %q", line)
			}
		}
	})
}

func FuzzBraces(f *testing.F) {
	f.Add("x-{08..11}.tar")
	f.Add("s/{train-{00..01},val-0}{a,}.tar")
	f.Fuzz(func(t *testing.T, pattern string) {
		if len(pattern) > 40 || strings.Count(pattern, "..")+strings.Count(pattern, ",") > 5 {
			return // a million paths take their time
		}
		paths, err := braces(pattern)
		if err == nil && (len(paths) == 0 || len(paths) > maxBraces) {
			t.Fatalf("%q stands for %d paths", pattern, len(paths))
		}
	})
}

func FuzzDigits(f *testing.F) {
	f.Add([]byte(strings.Repeat("0,", 64) + "3\n"))
	f.Add([]byte(strings.Repeat("16,", 64) + "\"9\"\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		if d, err := parseTable(bytes.NewReader(table)); err == nil && (len(d.Labels) != digitsCount || len(d.Pixels) != 64*digitsCount) {
			t.Fatalf("%d labels, %d pixels", len(d.Labels), len(d.Pixels))
		}
	})
}
