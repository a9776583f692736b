package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zeros writes n zeros.
func zeros(w io.Writer, n int) {
	block := make([]byte, 1<<20)
	for ; n > 0; n -= len(block) {
		_, _ = w.Write(block[:min(n, len(block))])
	}
}

// packed compresses what fill writes.
func packedBy(by string, fill func(w io.Writer)) string {
	return encoded(func(b *bytes.Buffer) error {
		if by == "zstd" {
			w, err := zstd.NewWriter(b)
			fill(w)
			return errors.Join(err, w.Close())
		}
		w, err := gzip.NewWriterLevel(b, gzip.BestSpeed)
		fill(w)
		return errors.Join(err, w.Close())
	})
}

// entryOf is a header of a tar, with a size in binary (GNU), and what may follow in a sparse file's.
func entryOf(name string, kind byte, size, whole int64) string {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	number := func(at int, v int64) {
		h[at] = 0x80 | byte(v>>63)&0x7f
		binary.BigEndian.PutUint64(h[at+4:], uint64(v))
	}
	number(124, size)
	h[156] = kind
	copy(h[257:], "ustar  \x00")
	if kind == tar.TypeGNUSparse {
		number(386, whole)
		number(398, 0)
		number(483, whole)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(h)
}

const bombSize = 300 << 20

// Fails if a small file that claims to hold, or decompresses to, more than any set takes memory or time.
func TestArchivesBeyondLimits(t *testing.T) {
	one := func(w io.Writer) {
		a := tar.NewWriter(w)
		_ = a.WriteHeader(&tar.Header{Name: "train/cat/1.png", Size: bombSize, Mode: 0o644})
		zeros(a, bombSize)
		a.Close()
	}
	many := func(w io.Writer) {
		a := tar.NewWriter(w)
		for i := range bombSize >> 20 {
			_ = a.WriteHeader(&tar.Header{Name: fmt.Sprintf("train/cat/%d.png", i), Size: 1 << 20, Mode: 0o644})
			zeros(a, 1<<20)
		}
		a.Close()
	}
	passed := func(w io.Writer) { // what is not kept takes time
		a := tar.NewWriter(w)
		_ = a.WriteHeader(&tar.Header{Name: "train/cat/.hidden", Size: bombSize, Mode: 0o644})
		zeros(a, bombSize)
		a.Close()
	}
	after := func(w io.Writer) {
		_, _ = io.WriteString(w, tarOf(cats("test")))
		zeros(w, bombSize)
	}
	deep := func(w io.Writer) {
		a := tar.NewWriter(w)
		for i := range 200 {
			_ = a.WriteHeader(&tar.Header{Name: fmt.Sprintf("train/%d/", i) + strings.Repeat("a/", 2000) + "1.png", Mode: 0o644})
		}
		a.Close()
	}
	folders := func(w io.Writer) {
		a := tar.NewWriter(w)
		for i := range 3000 {
			_ = a.WriteHeader(&tar.Header{Name: fmt.Sprintf("train/%d/", i) + strings.Repeat("a/", 29) + "1.png", Mode: 0o644})
		}
		a.Close()
	}
	for name, k := range map[string]struct {
		fill func(io.Writer)
		says string
	}{
		"one file":               {one, "decompresses to more than 50 times its size"},
		"many files":             {many, "decompresses to more than 50 times its size"},
		"a file that is hidden":  {passed, "decompresses to more than 50 times its size"},
		"zeros behind the end":   {after, "decompresses to more than 50 times its size"},
		"folders in folders":     {deep, "a file in 2002 folders, expected 32 at most"},
		"folders beside folders": {folders, "more than 65536 folders"},
	} {
		for _, by := range []string{"gzip", "zstd"} {
			t.Run(name+", "+by, func(t *testing.T) {
				refuses(t, Source{Path: writeFile(t, "pets.tar", packedBy(by, k.fill))}, "pets.tar", k.says)
			})
		}
	}
	good := tarOf(cats("test"))
	for name, k := range map[string]struct{ entry, says string }{
		"2^62 bytes":         {entryOf("train/cat/1.png", tar.TypeReg, 1<<62, 0), "1.png of 4611686018427387904 bytes, but the file has only"},
		"negative":           {entryOf("train/cat/1.png", tar.TypeReg, -5, 0), "invalid tar header"},
		"a hole of 1 TB":     {entryOf("train/cat/1.png", tar.TypeGNUSparse, 0, 1<<40), "decompresses to more than 50 times its size"},
		"a hole of 2^62":     {entryOf("train/cat/1.png", tar.TypeGNUSparse, 0, 1<<62), "decompresses to more than 50 times its size"},
		"a name of 5,000":    {tarOf([]member{{strings.Repeat("a", 5000), ""}})[:1024+5120], "a name of 5000 bytes, expected 4096 at most"},
		"a FIFO":             {entryOf("train/cat/1.png", tar.TypeFifo, 0, 0), "1.png: an entry of type '6'"},
		"a device":           {entryOf("train/cat/1.png", tar.TypeChar, 0, 0), "1.png: an entry of type '3'"},
		"a link out of here": {entryOf("train/cat/1.png", tar.TypeSymlink, 0, 0), "1.png: a link to "},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, Source{Path: writeFile(t, "pets.tar", k.entry+good)}, "pets.tar", k.says)
		})
	}
}

// Fails if one image of a zip, a file of pixels or a label takes more memory than any set's.
func TestFilesBeyondLimits(t *testing.T) {
	zipped := func(claim uint32, unpacked int) string {
		b := []byte(encoded(func(b *bytes.Buffer) error {
			w := zip.NewWriter(b)
			for _, m := range cats("test") {
				if f, err := w.Create(m.name); err != nil || m.content == "" {
					continue
				} else if _, err := io.WriteString(f, m.content); err != nil {
					return err
				}
			}
			f, err := w.Create("train/cat/0.png")
			zeros(f, unpacked)
			return errors.Join(err, w.Close())
		}))
		if claim > 0 { // in the directory's last header, before its name
			at := bytes.LastIndex(b, []byte("train/cat/0.png")) - 46
			binary.LittleEndian.PutUint32(b[at+24:], claim)
		}
		return string(b)
	}
	images, labels := "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	blank := func(n uint32) string {
		return packedBy("gzip", func(w io.Writer) {
			_, _ = io.WriteString(w, idxOf("", n, 1<<10, 1<<10))
			zeros(w, int(n)<<20)
		})
	}
	idx := func(name, content string) string { return writeFolder(t, changed(mnist("", "t10k"), name, content)) }
	packedIDX := func(name, content string) string {
		return writeFolder(t, changed(gzipped(mnist("", "t10k")), name+".gz", content))
	}
	huge := writeFolder(t, cifar10(""))
	if err := os.Truncate(filepath.Join(huge, "data_batch_2.bin"), 1<<40); err != nil {
		t.Fatal(err)
	}
	hugeImage := writeFolder(t, cats("test"))
	if err := os.Truncate(filepath.Join(hugeImage, "train/cat/10.png"), 1<<40); err != nil {
		t.Fatal(err)
	}
	list := writeFile(t, "classes", "cat\n")
	if err := os.Truncate(list, 1<<40); err != nil {
		t.Fatal(err)
	}
	shard := func(cls string) string {
		return writeFiles(t, map[string]string{"train.tar": tarOf([]member{{"0.png", tint(1)}, {"0.cls", cls}}), "test.tar": shardOf([2]int{1, 0})})
	}
	for name, k := range map[string]struct {
		source Source
		words  []string
	}{
		"a zip's image":             {Source{Path: writeFile(t, "x.zip", zipped(0, bombSize))}, []string{"train/cat/0.png: 314572800 bytes or more, expected 268435456 at most"}},
		"a zip's image, of 200 MB":  {Source{Path: writeFile(t, "x.zip", zipped(0, 200<<20))}, []string{"train/cat/0.png: it decompresses to more than 50 times its size"}},
		"a zip's image, claims 4G":  {Source{Path: writeFile(t, "x.zip", zipped(1<<32-2, 100))}, []string{"train/cat/0.png: 4294967294 bytes or more, expected 268435456 at most"}},
		"a zip's image, claims 100": {Source{Path: writeFile(t, "x.zip", zipped(100, 200<<20))}, []string{"train/cat/0.png: damaged in its archive"}},
		"idx, packed":               {Source{Path: packedIDX(images, blank(300))}, []string{images, "it decompresses to more than 50 times its size"}},
		"idx, 2^31 × 2^31 × 2^31":   {Source{Path: idx(images, idxOf("abc", 1<<31, 1<<31, 1<<31))}, []string{images, "at byte 8 a dimension of 2147483648"}},
		"idx, 2^32-1 images":        {Source{Path: idx(images, idxOf("abc", 1<<32-1, 1, 2))}, []string{images, "3 bytes from byte 16 on, expected 8589934590"}},
		"idx, an image of 2^32":     {Source{Path: idx(images, idxOf("abc", 1, 1<<16, 1<<16))}, []string{images, "at byte 12 a dimension of 65536, expected 1 to 2048"}},
		"idx, packed, claims":       {Source{Path: packedIDX(images, gzipOf(idxOf("abc", 1<<20, 1<<10, 1)))}, []string{images, "it decompresses to more than 50 times its size"}},
		"idx, labels claim":         {Source{Path: idx(labels, idxOf("\x01\x03", 1<<32-1))}, []string{labels, "2 bytes from byte 8 on, expected 4294967295"}},
		"records of 1 TB":           {Source{Path: huge}, []string{"data_batch_2.bin: 1099511627776 bytes or more, expected 8589934592 at most"}},
		"an image of 1 TB":          {Source{Path: hugeImage}, []string{"train/cat/10.png: 1099511627776 bytes or more, expected 268435456 at most"}},
		"a list of 1 TB":            {Source{Path: writeFolder(t, cats("test")), Classes: list}, []string{"too large", "correct data.classes"}},
		"a label of 5,000":          {Source{Path: shard(strings.Repeat("0", 5000))}, []string{"train.tar, byte ", "0.cls: 5000 bytes or more, expected 1024 at most"}},
		"a label of 2^40":           {Source{Path: shard("1099511627776")}, []string{`0.cls: a class of "1099511627776", expected a number in 0..1048575`}},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, k.source, k.words...) })
	}
}

// Fails if the limits refuse a small set, or one compressed as well as real ones.
func TestBlankSetsWithinLimits(t *testing.T) {
	batch := strings.Repeat(record(3072, 0, 0, 1), 9000) // 28 MB that come to 100 KB
	for _, by := range []string{"gzip", "zstd"} {
		path := writeFile(t, "pets.tar", packedBy(by, func(w io.Writer) {
			_, _ = io.WriteString(w, tarOf([]member{{"data_batch_1.bin", batch}, {"test_batch.bin", record(3072, 0, 0, 1)}}))
		}))
		if set, err := Open(Source{Path: path}, 1); err != nil || set.Train.Len() != 9000 {
			t.Errorf("%s: %v", by, err)
		}
	}
}
