package picture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of every format truncated anywhere, and a PNG, each chunk of which has a checksum, with a bit of any byte flipped: the error gives
// the approximate position and what to do. Only a GIF may end after its first frame, which is then complete. In the other formats most
// flipped bits cannot be detected.
func TestDamageIsDetected(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	formats := map[string]int{}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		format := filepath.Ext(name)
		if format == ".json" {
			continue
		}
		formats[format]++
		var p Picture
		for n := 1; n < len(content); n += 3 {
			err := Decode(&p, content[:n])
			if err == nil && format == ".gif" && n > len(content)/2 {
				continue
			}
			if err == nil || n > 12 && !strings.Contains(err.Error(), "near byte ") || !strings.Contains(err.Error(), "remove it") {
				t.Fatalf("%s cut to %d of %d bytes: %v", name, n, len(content), err)
			}
		}
		if format != ".png" {
			continue
		}
		for i := range content {
			content[i] ^= 4
			if Decode(&p, content) == nil {
				t.Fatalf("%s passes with a bit of byte %d flipped", name, i)
			}
			content[i] ^= 4
		}
	}
	if len(formats) != 5 {
		t.Errorf("formats %v", formats)
	}
}
