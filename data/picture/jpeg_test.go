//go:build cgo

package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// scene is a JPEG of a smooth picture with some noise on it, of colours, 4:2:0, or grey.
func scene(height, width int, grey bool) []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	r := image.Rect(0, 0, width, height)
	colours, greys := image.NewRGBA(r), image.NewGray(r)
	for y := range height {
		for x := range width {
			n := rng.IntN(20)
			colours.Set(x, y, color.RGBA{uint8(x*200/width + n), uint8(y*200/height + n), uint8((x+y)%97 + n), 255})
			greys.Set(x, y, color.Gray{uint8(x*100/width + y*100/height + n)})
		}
	}
	return []byte(encoded(func(b *bytes.Buffer) error {
		if grey {
			return jpeg.Encode(b, greys, &jpeg.Options{Quality: 90})
		}
		return jpeg.Encode(b, colours, &jpeg.Options{Quality: 90})
	}))
}

func scenes(t *testing.T) map[string][]byte {
	progressive, err := os.ReadFile("testdata/progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"colours": scene(150, 210, false), "grey": scene(97, 61, true), "progressive": progressive, "small": scene(5, 3, false)}
}

// libjpeg compared with Go's decoder, which rounds differently and repeats chroma where libjpeg interpolates: the mean difference is below
// one level. Fails if planes are exchanged, or rows or columns shifted.
func TestJPEGAgainstGo(t *testing.T) {
	for name, content := range scenes(t) {
		var got, want Picture
		if err := Decode(&got, content); err != nil {
			t.Fatal(name, err)
		}
		format, c, err := look(content)
		if err == nil {
			err = format.decodeGo(&want, content, c)
		}
		if err != nil || got.Height != want.Height || got.Width != want.Width {
			t.Fatal(name, err)
		}
		for c := range 3 {
			sum := 0
			for i, v := range got.Plane(c) {
				d := int(v) - int(want.Plane(c)[i])
				sum += max(d, -d)
			}
			if mean := float64(sum) / float64(len(got.Plane(c))); mean > 2.5 {
				t.Errorf("%s, channel %d: %.2f levels apart", name, c, mean)
			}
		}
	}
}

// A decoded region equals that region of the complete image, bit for bit. Fails if it has other rows or columns, if pixels that were not
// decoded affect its edge, or if a decoder keeps state of the previous image.
func TestJPEGRegionEqualsThatOfTheImage(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for name, content := range scenes(t) {
		var whole, piece Picture
		if err := Decode(&whole, content); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			b := Box{Height: 1 + rng.IntN(whole.Height), Width: 1 + rng.IntN(whole.Width)}
			b.Top, b.Left = rng.IntN(whole.Height-b.Height+1), rng.IntN(whole.Width-b.Width+1)
			piece.Want = func(height, width int) Plan {
				if height != whole.Height || width != whole.Width {
					t.Fatalf("%s: asked of %d×%d", name, width, height)
				}
				return Plan{b, b.Height, b.Width, Full(b.Height, b.Width)}
			}
			if err := Decode(&piece, content); err != nil || !piece.Cut || piece.Height != b.Height || piece.Width != b.Width {
				t.Fatalf("%s, %+v: %d×%d, %v", name, b, piece.Width, piece.Height, err)
			}
			for row := range 3 * b.Height {
				c, y := row/b.Height, row%b.Height
				at := (b.Top+y)*whole.Width + b.Left
				if !slices.Equal(piece.Plane(c)[y*b.Width:(y+1)*b.Width], whole.Plane(c)[at:at+b.Width]) {
					t.Fatalf("%s, %+v: row %d of channel %d is another", name, b, y, c)
				}
			}
		}
	}
}

// A region that is shrunk while it is decoded resembles a resized one: the mean difference is below 3 levels. Fails if the box is not shrunk
// with the image, or is smaller than requested.
func TestShrunkJPEGIsLikeAResizedOne(t *testing.T) {
	content := scene(640, 480, false)
	var whole, piece, want, got Picture
	var r Resizer
	if err := Decode(&whole, content); err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		box Box
		to  int
		by  int
	}{{Full(640, 480), 224, 2}, {Full(640, 480), 60, 8}, {Full(640, 480), 300, 1}, {Box{101, 77, 333, 257}, 64, 4}} {
		plan := Plan{k.box, k.to, k.to, Full(k.to, k.to)}
		piece.Want = func(height, width int) Plan { return plan }
		if err := Decode(&piece, content); err != nil {
			t.Fatal(err)
		}
		if piece.Height != k.box.Height/k.by || piece.Width != k.box.Width/k.by {
			t.Errorf("%+v: %d×%d, want it shrunk by %d", plan, piece.Width, piece.Height, k.by)
		}
		r.Resize(&want, &whole, plan, Bicubic)
		plan.Box = Full(piece.Height, piece.Width)
		r.Resize(&got, &piece, plan, Bicubic)
		sum := 0
		for i, v := range got.Pix {
			d := int(v) - int(want.Pix[i])
			sum += max(d, -d)
		}
		if mean := float64(sum) / float64(len(got.Pix)); mean > 3 {
			t.Errorf("%+v: %.2f levels apart", plan, mean)
		}
	}
}

// Fails if a truncated image is accepted, also where only a region before the end is requested, if an error gives another position, or if a
// decoder cannot be used after it.
func TestTruncatedJPEGIsAnError(t *testing.T) {
	content := scene(150, 210, false)
	var p Picture
	corner := Picture{Want: func(int, int) Plan { return Plan{Box{0, 0, 8, 8}, 8, 8, Full(8, 8)} }}
	for n := 1; n < len(content); n += 7 {
		if Decode(&p, content[:n]) == nil || Decode(&corner, content[:n]) == nil {
			t.Fatalf("cut to %d of %d bytes it passes", n, len(content))
		}
	}
	if err := Decode(&corner, content); err != nil || !corner.Cut {
		t.Errorf("a piece of the whole file: %v, cut %v", err, corner.Cut)
	}
	at, n := 0, len(content)/2
	err := Decode(&p, content[:n])
	if _, scan := fmt.Sscanf(err.Error()[strings.Index(err.Error(), "near byte"):], "near byte %d", &at); scan != nil || at < n-100 || at > n {
		t.Errorf("cut to %d bytes: %v", n, err)
	}
	if err := Decode(&p, content[:len(content)/2]); err == nil || !strings.Contains(err.Error(), "ends too early") {
		t.Errorf("half of it: %v", err)
	}
	if err := Decode(&p, content); err != nil {
		t.Error(err)
	}
}
