package data

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"lte/data/picture"
	"lte/random"
)

// Every operation at three magnitudes and in both directions, compared with torchvision's (tools/golden_randaugment.py), within one level,
// as its magnitudes are float32.
func TestRandAugmentAgainstTorchvision(t *testing.T) {
	file, err := os.ReadFile("testdata/randaugment.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Height, Width int
		Pixels        []byte
		Operated      []struct {
			Operation string
			Magnitude int
			Sign      float64
			Pixels    []byte
		}
	}
	if err := json.Unmarshal(file, &golden); err != nil {
		t.Fatal(err)
	}
	names := []string{"Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness",
		"Posterize", "Solarize", "AutoContrast", "Equalize"}
	var src, got Picture
	src.Lend(3, golden.Height, golden.Width, golden.Pixels)
	seen := map[string]bool{}
	for _, k := range golden.Operated {
		seen[k.Operation] = true
		got = src
		if f := operations[slices.Index(names, k.Operation)]; f != nil {
			got = Picture{}
			f(&got, &src, float64(k.Magnitude)/MaxMagnitude, k.Sign)
		}
		for i, v := range k.Pixels {
			if d := int(got.Pix[i]) - int(v); d < -1 || d > 1 {
				t.Errorf("%s of magnitude %d, sign %v: byte %d is %d, torchvision's %d", k.Operation, k.Magnitude, k.Sign, i, got.Pix[i], v)
				break
			}
		}
	}
	if len(seen) != len(operations) {
		t.Errorf("%d operations of %d", len(seen), len(operations))
	}
}

// painted returns the result of f for a picture with a different value at each byte.
func painted(f func(p *transformed)) *Picture {
	var p Picture
	p.Reset(3, 24, 24)
	for i := range p.Pix {
		p.Pix[i] = uint8(40 + i*i%150)
	}
	changing := &transformed{picture: &p}
	f(changing)
	return changing.picture
}

// Of 14000 single operations each occurs 1000 ± 30 times (five deviations are allowed), half of them in either direction; two operations
// are applied one after the other, from one stream.
func TestRandAugmentIsFair(t *testing.T) {
	rng := random.Stream(1, "test")
	one := RandAugment{Operations: 1, Magnitude: 17}
	ways := map[string]int{}
	for range 14000 {
		ways[string(painted(func(p *transformed) { one.apply(p, rng) }).Pix)]++
	}
	count := 0
	for which, f := range operations {
		var by [2]string
		for i, sign := range []float64{1, -1} {
			by[i] = string(painted(func(p *transformed) {
				if f != nil {
					p.apply(func(dst, src *Picture) { f(dst, src, 17.0/30, sign) })
				}
			}).Pix)
		}
		each, of := ways[by[0]], 1000.0
		if by[0] != by[1] {
			if of = 500; math.Abs(float64(ways[by[1]])-of) > 5*math.Sqrt(of) {
				t.Errorf("operation %d goes back %d times", which, ways[by[1]])
			}
			delete(ways, by[1])
			count++
		}
		if math.Abs(float64(each)-of) > 5*math.Sqrt(of) {
			t.Errorf("operation %d: %d times, expected some %v", which, each, of)
		}
		delete(ways, by[0])
		count++
	}
	if len(ways) > 0 || count != 23 {
		t.Errorf("%d outcomes, and %d that no operation has", count, len(ways))
	}
	for i := range uint64(50) {
		two, twice := random.Stream(2, "test", i), random.Stream(2, "test", i)
		a := painted(func(p *transformed) { RandAugment{Operations: 2, Magnitude: 9}.apply(p, two) })
		b := painted(func(p *transformed) {
			for range 2 {
				RandAugment{Operations: 1, Magnitude: 9}.apply(p, twice)
			}
		})
		if !slices.Equal(a.Pix, b.Pix) || two.Uint64() != twice.Uint64() {
			t.Fatal("two operations are not one and another one")
		}
	}
}

// everything enables every augmentation.
var everything = Augment{ResizedCrop: ResizedCrop{Area: 0.1, Aspect: 2}, RandAugment: RandAugment{Operations: 2, Magnitude: 15},
	Colour: ColourJitter{Brightness: 0.4, Contrast: 0.4, Saturation: 0.4}, Affine: jitter.Affine, Crop: 1, Flip: true, Erasing: 0.5}

// The feed compared with the steps done directly: crop, RandAugment, colour jitter, affine map, normalisation and erasing in this order, each
// with its own stream of (seed, epoch, image).
func TestFeedOfEverything(t *testing.T) {
	set := albumSet(30)
	f := NewFeed(set, FeedOptions{Seed: 3, Batch: 10, Size: 1, Augment: everything})
	defer f.Close()
	s := NewSampler(30, 3)
	changed := 0
	for step, b := range take(t, f, 9) {
		for j := range 10 {
			epoch, image := s.At(int64(step*10 + j))
			var p Picture
			set.Train.Picture(&p, image)
			of := func(purpose string) *rand.Rand { return random.Stream(3, purpose, uint64(epoch), uint64(image)) }
			st := newPreprocessor(set, set.Train, Augment{}, 0)
			st.resizer.Resize(&st.resized, &p, picture.Uncropped(everything.ResizedCrop.draw(p.Height, p.Width, of("resized crop")), 8, 8), set.Fit.Filter)
			changing := &transformed{picture: &st.resized}
			everything.RandAugment.apply(changing, of("randaugment"))
			everything.Colour.apply(changing, of("colour jitter"))
			if !slices.Equal(changing.picture.Pix, st.resized.Pix) {
				changed++
			}
			x, want := make([]float32, 192), make([]float32, 192)
			for i, v := range changing.picture.Pix {
				x[i] = float32(v) / 255
			}
			everything.Apply(want, x, make([]float32, 192), 3, 8, 8, of("augment"))
			set.normalise(want)
			everything.Erasing.apply(want, 3, 8, 8, of("erasing"))
			if !sameBits(b.Images[j*192:(j+1)*192], want) {
				t.Fatalf("step %d, image %d of the batch differs from its direct computation", step, j)
			}
		}
	}
	if changed < 60 {
		t.Errorf("%d of 90 images were painted", changed)
	}
}

// Transforms of bytes preserve the brightness of the digits, whose white level is 16: a negligible colour jitter changes no pixel by more
// than the rounding to 255 levels.
func TestPaintingKeepsWhite(t *testing.T) {
	set := openTest(t)
	o := FeedOptions{Seed: 3, Batch: 50, Size: 1}
	f := NewFeed(set, o)
	defer f.Close()
	o.Augment.Colour.Brightness = 1e-9
	g := NewFeed(set, o)
	defer g.Close()
	a, b := take(t, f, 1)[0], take(t, g, 1)[0]
	for i := range a.Images {
		if d := math.Abs(float64(a.Images[i]-b.Images[i])) * float64(set.Std[0]); d > 1.0/255 {
			t.Fatalf("value %d: %v painted, %v plain", i, b.Images[i], a.Images[i])
		}
	}
}

// An error of a value out of range names its key.
func TestPaintingChecks(t *testing.T) {
	for key, a := range map[string]Augment{
		"data.randaugment ":          {RandAugment: RandAugment{Operations: -1}},
		"data.randaugment_magnitude": {RandAugment: RandAugment{Operations: 1, Magnitude: 31}},
		"data.brightness":            {Colour: ColourJitter{Brightness: -0.1}},
		"data.contrast":              {Colour: ColourJitter{Contrast: math.NaN()}},
		"data.saturation":            {Colour: ColourJitter{Saturation: math.Inf(1)}},
		"data.random_erasing":        {Erasing: 1.5},
	} {
		if err := a.Check(3, 8, 8); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	for channels, ok := range map[int]bool{1: true, 2: false, 3: true, 4: false} {
		if err := everything.Check(channels, 8, 8); (err == nil) != ok {
			t.Errorf("%d channels: %v", channels, err)
		}
	}
}
