package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/gif"
	"image/jpeg"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"lte/data/limit"
)

// zeroPNG is a PNG of one colour, of 8 bits, whose data decompress to so many bytes.
func zeroPNG(width, height uint32, unpacked int) string {
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, content []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
		from := len(b)
		b = append(append(b, kind...), content...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
	}
	chunk("IHDR", append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height), 8, 0, 0, 0, 0))
	chunk("IDAT", []byte(encoded(func(b *bytes.Buffer) error {
		w, zeros := zlib.NewWriter(b), make([]byte, 1<<20)
		for n := unpacked; n > 0; n -= len(zeros) {
			_, _ = w.Write(zeros[:min(n, len(zeros))])
		}
		return w.Close()
	})))
	chunk("IEND", nil)
	return string(b)
}

// bmpHeader is a BMP of 24 bits without its pixels.
func bmpHeader(width, height uint32) string {
	b := append([]byte("BM"), make([]byte, 52)...)
	b[10], b[14], b[26], b[28] = 54, 40, 1, 24
	binary.LittleEndian.PutUint32(b[18:], width)
	binary.LittleEndian.PutUint32(b[22:], height)
	return string(b)
}

// manyScans is a progressive JPEG with so many repetitions of its last scan.
func manyScans(t *testing.T, name string, n int) string {
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndex(content, startOfScan)
	end := len(content) - len(endOfImage)
	return string(content[:end]) + strings.Repeat(string(content[last:end]), n) + string(endOfImage)
}

// Fails if a small file that claims, or decompresses to, many pixels is decoded, or takes memory or time.
func TestImagesBeyondLimits(t *testing.T) {
	flat := image.NewGray(image.Rect(0, 0, 8, 8))
	claimed := func(of string, at int) string { // JPEG's and GIF's sizes have 16 bits
		return of[:at] + "\xff\xff\xff\xff" + of[at+4:]
	}
	aJPEG := encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, flat, nil) })
	aGIF := encoded(func(b *bytes.Buffer) error { return gif.Encode(b, flat, nil) })
	for name, k := range map[string]struct{ content, says string }{
		"JPEG of 65535×65535":       {claimed(aJPEG, strings.Index(aJPEG, "\xff\xc0")+5), "65535×65535 pixels, expected one at least, 134217728 at most"},
		"GIF of 65535×65535":        {claimed(aGIF, 6), "65535×65535 pixels, expected"},
		"PNG of 2^31-1":             {zeroPNG(1<<31-1, 1<<31-1, 100), "dimension overflow"},
		"PNG a pixel high":          {zeroPNG(1<<17, 1, 1<<17+1), "131072×1 pixels, expected one at least, 134217728 at most, and a side of 65536"},
		"PNG, 134 million in 100 K": {zeroPNG(11585, 11585, 11586*11585), "a PNG image of 11585×11585 pixels in 13"},
		"BMP without pixels":        {bmpHeader(11000, 11000), "a BMP image of 11000×11000 pixels in 54 bytes, expected 16782616 pixels at most in so few: the file ends too early"},
		"PNG, more than its pixels": {zeroPNG(8, 8, 300<<20), "too much pixel data"},
		"JPEG, many scans":          {manyScans(t, "testdata/progressive.jpg", limit.Scans), "scans, expected 100 at most"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		var p Picture
		err := Decode(&p, []byte(k.content))
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), k.says) {
			t.Errorf("%s: %v, want one that says %s", name, err, k.says)
		}
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 10 || took > 2*time.Second {
			t.Errorf("%s: %d MB, %v", name, n, took)
		}
	}
}

// Fails if an image within the limits is refused: one of a flat colour, which is the smallest as a file, and one whose bytes look
// like the beginnings of scans without being any.
func TestImagesWithinLimits(t *testing.T) {
	var p Picture
	if err := Decode(&p, []byte(zeroPNG(4096, 4096, 4097*4096))); err != nil {
		t.Error(err)
	}
	aJPEG := encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, image.NewGray(image.Rect(0, 0, 8, 8)), nil) })
	noise := strings.Repeat("\xff\xda", 500)
	comment := "\xff\xfe" + string(binary.BigEndian.AppendUint16(nil, uint16(2+len(noise)))) + noise
	if err := Decode(&p, []byte(aJPEG[:2]+comment+aJPEG[2:])); err != nil {
		t.Error(err)
	}
	if err := Decode(&p, []byte(manyScans(t, "testdata/progressive.jpg", 0))); err != nil {
		t.Error(err)
	}
}
