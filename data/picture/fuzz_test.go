package picture

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzDecode is of all formats. An image that decodes has the size that its header promised.
func FuzzDecode(f *testing.F) {
	names, err := filepath.Glob("testdata/*.*")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		if content, err := os.ReadFile(name); err == nil && len(content) < 4096 {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		height, width, err := Size(content)
		if err != nil || height*width > 1<<16 {
			return
		}
		var p Picture
		if err := Decode(&p, content); err != nil {
			return
		}
		if p.Height != height || p.Width != width || p.Channels != 3 || len(p.Pix) != 3*height*width {
			t.Fatalf("%d×%d in %d channels, %d bytes, by the header %d×%d", p.Width, p.Height, p.Channels, len(p.Pix), width, height)
		}
	})
}

// FuzzOrientation is of EXIF headers.
func FuzzOrientation(f *testing.F) {
	f.Add([]byte(withOrientation("\xff\xd8\xff\xda", "II", 6)))
	f.Add([]byte(withOrientation("\xff\xd8\xff\xda", "MM", 8)))
	f.Fuzz(func(t *testing.T, jpeg []byte) {
		if o := orientation(jpeg); o < upright || o > threeTurns {
			t.Fatalf("orientation %d", o)
		}
	})
}
