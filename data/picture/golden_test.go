package picture

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Against Pillow (tools/pictures.py). Fails on CMYK that is not inverted as Adobe's files have it, YCCK taken for CMYK, WebP's
// video levels taken for full range (16 levels off), and transparency that dims. Nothing is lost in formats without loss;
// decoders of JPEG may round an inverse DCT and a conversion differently, and WebP's chroma is blown up from half size
// by another filter here, half a row apart, where the scene climbs 8 levels a row: 2 and 8 levels.
func TestDecodingEqualsPillow(t *testing.T) {
	goldens, err := filepath.Glob("testdata/*.*.png")
	if err != nil || len(goldens) != 11 {
		t.Fatalf("%d golden images, %v", len(goldens), err)
	}
	for _, golden := range goldens {
		name := strings.TrimSuffix(golden, ".png")
		content, err := os.ReadFile(name)
		var got, want Picture
		if err == nil {
			err = Decode(&got, content)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if content, err = os.ReadFile(golden); err != nil || Decode(&want, content) != nil {
			t.Fatal(golden, err)
		}
		most := map[string]int{".jpg": 2, ".webp": 8}[filepath.Ext(name)]
		if strings.Contains(name, "lossless") {
			most = 0
		}
		if got.Height != want.Height || got.Width != want.Width {
			t.Errorf("%s: %d×%d", name, got.Width, got.Height)
			continue
		}
		worst := 0
		for i := range want.Pix {
			worst = max(worst, int(got.Pix[i])-int(want.Pix[i]), int(want.Pix[i])-int(got.Pix[i]))
		}
		if worst > most {
			t.Errorf("%s: %d levels from Pillow's, want %d at most", name, worst, most)
		}
	}
}

// withOrientation puts an EXIF header into a JPEG.
func withOrientation(jpeg string, order string, value byte) string {
	tiff := "II*\x00\x08\x00\x00\x00" + "\x02\x00" + "\x0f\x01\x02\x00\x04\x00\x00\x00Lte\x00" + "\x12\x01\x03\x00\x01\x00\x00\x00" + string([]byte{value, 0, 0, 0})
	if order == "MM" {
		tiff = "MM\x00*\x00\x00\x00\x08" + "\x00\x02" + "\x01\x0f\x00\x02\x00\x00\x00\x04Lte\x00" + "\x01\x12\x00\x03\x00\x00\x00\x01" + string([]byte{0, value, 0, 0})
	}
	exif := "Exif\x00\x00" + tiff
	comment := "\xff\xfe\x00\x05hi!" // before it
	return jpeg[:2] + comment + "\xff\xe1\x00" + string([]byte{byte(len(exif) + 2)}) + exif + jpeg[2:]
}

// The eight orientations by the words of the standard (EXIF 2.32, 4.6.4 A): at which side the file's row 0 and column 0
// are seen. Fails on a turn the wrong way, and sides that don't change places.
func TestOrientationsAreApplied(t *testing.T) {
	const width, height = 24, 16
	m := image.NewGray(image.Rect(0, 0, width, height))
	for i := range m.Pix {
		m.Pix[i] = uint8(4*(i%width) + 100*(i/width)/height)
	}
	plain := encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, m, &jpeg.Options{Quality: 100}) })
	var file Picture
	if err := Decode(&file, []byte(plain)); err != nil {
		t.Fatal(err)
	}
	sides := [9][2]string{1: {"top", "left"}, {"top", "right"}, {"bottom", "right"}, {"bottom", "left"},
		{"left", "top"}, {"right", "top"}, {"right", "bottom"}, {"left", "bottom"}}
	for o := 1; o <= 8; o++ {
		for _, order := range []string{"II", "MM"} {
			turned := []byte(withOrientation(plain, order, byte(o)))
			var p Picture
			h, w, err := Size(turned)
			if err == nil {
				err = Decode(&p, turned)
			}
			if err != nil || p.Height != h || p.Width != w || (h == width) != (o >= 5) {
				t.Fatalf("orientation %d: %d×%d, %d×%d by the header, %v", o, p.Width, p.Height, w, h, err)
			}
			row0, column0 := sides[o][0], sides[o][1]
			for row := range height {
				for column := range width {
					// So far from row 0's side, so far from column 0's.
					var x, y int
					for _, d := range []struct {
						from string
						far  int
					}{{row0, row}, {column0, column}} {
						switch d.from {
						case "top":
							y = d.far
						case "bottom":
							y = h - 1 - d.far
						case "left":
							x = d.far
						case "right":
							x = w - 1 - d.far
						}
					}
					if p.Pix[y*w+x] != file.Pix[row*width+column] {
						t.Fatalf("orientation %d: row %d, column %d of the file is not at %d, %d", o, row, column, x, y)
					}
				}
			}
		}
	}
	for name, exif := range map[string]string{"none": plain, "0": withOrientation(plain, "II", 0), "9": withOrientation(plain, "MM", 9),
		"cut": strings.Replace(withOrientation(plain, "II", 6), "*\x00\x08", "*\x00\xf8", 1)} {
		if o := orientation([]byte(exif)); o != upright {
			t.Errorf("%s: orientation %d", name, o)
		}
	}
}
