package transform

import (
	"encoding/json"
	"os"
	"testing"

	"lte/data/picture"
)

// operations names what tools/golden_pillow.py has Pillow do.
var operations = map[string]func(dst, src *picture.Picture, by float64){
	"brightness":   Brightness,
	"contrast":     Contrast,
	"saturation":   Saturation,
	"sharpness":    Sharpness,
	"posterize":    func(dst, src *picture.Picture, by float64) { Posterize(dst, src, int(by)) },
	"solarize":     Solarize,
	"autocontrast": func(dst, src *picture.Picture, _ float64) { AutoContrast(dst, src) },
	"equalize":     func(dst, src *picture.Picture, _ float64) { Equalize(dst, src) },
	"shear x":      ShearX,
	"shear y":      ShearY,
	"translate x":  func(dst, src *picture.Picture, by float64) { Translate(dst, src, int(by), 0) },
	"translate y":  func(dst, src *picture.Picture, by float64) { Translate(dst, src, 0, int(by)) },
	"rotate":       Rotate,
}

// Every operation compared with Pillow's, to the byte: in colour and grey, on pictures of one and two pixels, and on one of one colour.
func TestOperationsAgainstPillow(t *testing.T) {
	file, err := os.ReadFile("testdata/pillow.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Sources []struct {
			Shape    [3]int // channels, height, width
			Pixels   []byte
			Operated []struct {
				Operation string
				By        float64
				Pixels    []byte
			}
		}
	}
	if err := json.Unmarshal(file, &golden); err != nil || len(golden.Sources) != 5 {
		t.Fatalf("%d pictures, %v", len(golden.Sources), err)
	}
	var src, got picture.Picture
	for _, s := range golden.Sources {
		src.Lend(s.Shape[0], s.Shape[1], s.Shape[2], s.Pixels)
		seen := map[string]bool{}
		for _, k := range s.Operated {
			seen[k.Operation] = true
			got.Reset(4, 50, 50) // of another shape, full of what was before
			for i := range got.Pix {
				got.Pix[i] = 77
			}
			operations[k.Operation](&got, &src, k.By)
			differ, worst := 0, 0
			for i, v := range k.Pixels {
				if d := int(got.Pix[i]) - int(v); d != 0 {
					differ, worst = differ+1, max(worst, d, -d)
				}
			}
			if differ > 0 || got.Channels != src.Channels || got.Height != src.Height || got.Width != src.Width {
				t.Errorf("%s by %v of %v: %d of %d bytes are not Pillow's, by up to %d", k.Operation, k.By, s.Shape, differ, len(k.Pixels), worst)
			}
		}
		if len(seen) != len(operations) {
			t.Errorf("%v: %d operations of %d", s.Shape, len(seen), len(operations))
		}
	}
}
