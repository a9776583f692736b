package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn/nntest"
	"lte/random"
)

// broad is a model with enough numbers in every parameter for statistics.
func broad() Config {
	return Config{ImageHeight: 16, ImageWidth: 24, Channels: 3, Classes: 10, Patch: 4, Depth: 2, Width: 64, MLP: 160,
		Heads: 4, Kind: "vit", Positions: "learned", Batch: 1}
}

// broadMixer is such an MLP-Mixer.
func broadMixer() Config {
	return Config{ImageHeight: 32, ImageWidth: 48, Channels: 3, Classes: 10, Patch: 4, Depth: 2, Width: 64, MLP: 160,
		TokenMLP: 80, Kind: "mixer", Batch: 1}
}

// Fails when a weight is drawn from anything but the given stream (every rank must hold the same bits, law 5), or when
// the seed does nothing.
func TestInitialisationIsOfTheSeed(t *testing.T) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, c := range []Config{broad(), broadMixer()} {
			draw := func(seed uint64) []float32 {
				v, err := New(c, b, random.Stream(seed, "weights"))
				if err != nil {
					t.Fatal(err)
				}
				return v.Flat()
			}
			if !slices.Equal(draw(7), draw(7)) {
				t.Errorf("two models (%s) of one seed differ", c.Kind)
			}
			if slices.Equal(draw(7), draw(8)) {
				t.Errorf("two seeds give one model (%s)", c.Kind)
			}
		}
	})
}

// start is what torchvision's VisionTransformer or timm's MlpMixer starts a parameter with, by the same words as at
// initialise.
func start(name string, c Config) (law string, size float64) {
	d, m, t, tm := float64(c.Width), float64(c.MLP), float64(c.patches()), float64(c.TokenMLP)
	fan := float64(c.Channels * c.Patch * c.Patch)
	if _, inner, ok := strings.Cut(name, "mlp_"); ok {
		switch inner {
		case "tokens.fc1.weight", "tokens.fc2.weight":
			return "uniform", math.Sqrt(6 / (t + tm))
		case "channels.fc1.weight", "channels.fc2.weight":
			return "uniform", math.Sqrt(6 / (d + m))
		case "tokens.fc1.bias", "tokens.fc2.bias", "channels.fc1.bias", "channels.fc2.bias":
			return "normal", 1e-6
		}
	}
	switch _, name, _ := strings.Cut(name, "encoder_layer_"); name {
	case "0.self_attention.in_proj_weight", "1.self_attention.in_proj_weight":
		return "uniform", math.Sqrt(6 / (d + 3*d))
	case "0.self_attention.out_proj.weight", "1.self_attention.out_proj.weight":
		return "uniform", 1 / math.Sqrt(d)
	case "0.mlp.0.weight", "0.mlp.3.weight", "1.mlp.0.weight", "1.mlp.3.weight":
		return "uniform", math.Sqrt(6 / (d + m))
	case "0.mlp.0.bias", "0.mlp.3.bias", "1.mlp.0.bias", "1.mlp.3.bias":
		return "normal", 1e-6
	}
	switch {
	case name == "conv_proj.weight":
		return "normal", 1 / math.Sqrt(fan)
	case name == "stem.proj.weight":
		return "truncated", 1 / math.Sqrt(fan)
	case name == "encoder.pos_embedding":
		return "normal", 0.02
	case isNorm(name) && strings.HasSuffix(name, "weight"):
		return "constant", 1
	}
	return "constant", 0
}

// Fails when a parameter starts with another distribution, width or constant than torchvision's or timm's, or when two
// share their draws. Mean and deviation may stray by five standard errors; a uniform's largest value comes within 20/n of
// its bound (else with probability e⁻²⁰), and a normal's goes beyond 1.8σ, which a uniform's of that σ cannot. One cut at
// two of its σ has 1/0.8796 of it left: its largest value is below 2.274σ, of 3,072 not by 0.07σ (e⁻²¹), and its kurtosis
// is 2.37.
func TestInitialisationStatistics(t *testing.T) {
	b, err := compute.New("gonum", 1, compute.Float32) // draws do not pass through the back end
	if err != nil {
		t.Fatal(err)
	}
	for drawn, c := range map[int]Config{2 + 6*2: broad(), 1 + 8*2: broadMixer()} {
		checkStatistics(t, newModel(t, c, b), drawn)
	}
}

func checkStatistics(t *testing.T, v *Model, drawn int) {
	t.Helper()
	c, seen := v.config, map[float32]string{}
	for _, p := range v.Parameters() {
		law, size := start(p.Name, c)
		if law == "constant" {
			for _, x := range p.Value.Float32() {
				if x != float32(size) {
					t.Fatalf("%s starts with %v, want %v", p.Name, x, size)
				}
			}
			continue
		}
		if err := distributed(p.Value.Float32(), law, size); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if other, ok := seen[p.Value.Float32()[0]]; ok {
			t.Errorf("%s begins with the draw of %s", p.Name, other)
		}
		seen[p.Value.Float32()[0]] = p.Name
	}
	if len(seen) != drawn {
		t.Errorf("%d parameters are drawn", len(seen))
	}
}

func distributed(x []float32, law string, size float64) error {
	n, sum, squares, most := float64(len(x)), 0.0, 0.0, 0.0
	for _, v := range nntest.Wide(x) {
		sum += v
		squares += v * v
		most = max(most, math.Abs(v))
	}
	sigma, kurtosis := size, 3.0
	switch {
	case law == "uniform":
		sigma, kurtosis = size/math.Sqrt(3), 1.8
		if most > size*(1+1e-7) || most < size*(1-20/n) {
			return fmt.Errorf("largest value %v, want just below %v", most, size)
		}
	case law == "truncated":
		kurtosis = 2.37
		if most > 2.274*sigma || most < 2.204*sigma {
			return fmt.Errorf("largest value %v, want just below %v", most, 2.274*sigma)
		}
	case most < 1.8*sigma:
		return fmt.Errorf("largest value %v: not normal of σ %v", most, sigma)
	}
	if mean := sum / n; !(math.Abs(mean) <= 5*sigma/math.Sqrt(n)) {
		return fmt.Errorf("mean %v, want 0 ± %v", mean, sigma/math.Sqrt(n))
	}
	if got, by := math.Sqrt(squares/n), sigma*math.Sqrt((kurtosis-1)/(4*n)); !(math.Abs(got-sigma) <= 5*by) {
		return fmt.Errorf("deviation %v, want %v ± %v", got, sigma, by)
	}
	return nil
}

// Fails when the sinusoids' order, frequencies, or x and y are mixed up: the row of the patch at x = 2, y = 1, by hand.
func TestSinusoids(t *testing.T) {
	c := tiny()
	c.Positions = "sincos"
	got := make([]float32, c.tokens()*c.Width)
	for i := range got {
		got[i] = 9 // not to be left
	}
	sincos(got, c)
	w := 1e-4 // the second of two frequencies
	row := 1 + 1*3 + 2
	nntest.Near(t, "row", got[row*c.Width:][:c.Width], []float64{math.Sin(2), math.Sin(2 * w), math.Cos(2), math.Cos(2 * w),
		math.Sin(1), math.Sin(w), math.Cos(1), math.Cos(w)}, 1e-7)
	nntest.Near(t, "class token's row", got[:c.Width], make([]float64, c.Width), 0)
}

// Fails when a head's factors do not start as algorithm.md says: B = 0, so that the head changes nothing yet; A by its
// initialisation, in every layer of its own draws; A', B' = A, B; s = α/r; a rank beyond the side that the data set,
// cut to it; and A and B one after the other in the flat slice that a merge sends.
func TestHeadStart(t *testing.T) {
	for _, how := range []string{"orthogonal", "kaiming"} {
		t.Run(how, func(t *testing.T) {
			nntest.Backends(t, func(t *testing.T, b compute.Backend) {
				testHeadStart(t, broad(), b, how)
				testHeadStart(t, broadMixer(), b, how)
			})
		})
	}
}

func testHeadStart(t *testing.T, c Config, b compute.Backend, how string) {
	c.Classes = 5
	const rank = 8 // more than the classes
	v := lively(t, c, b)
	images, _ := batchOf(c, 1, 5)
	before := slices.Clone(v.Forward(images).Data)
	h, err := newHead(v, lora.Config{Rank: rank, Alpha: 20, Init: how}, nntest.Source(3))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range h.Layout.Layers {
		if p.Scale != 2.5 {
			t.Errorf("s = %v, want 20/8", p.Scale)
		}
	}
	at, seen := 0, map[float32]bool{}
	for _, l := range v.Layers() {
		a, r := h.Adapter(l), rank
		if l.Name == "heads.head" || l.Name == "head" {
			r = 5
		}
		if a.A.Rows != r || a.A.Cols != l.W.Cols || a.B.Rows != l.W.Rows || a.B.Cols != r {
			t.Fatalf("%s has A (%d×%d) and B (%d×%d), and W (%d×%d)", l.Name, a.A.Rows, a.A.Cols, a.B.Rows, a.B.Cols,
				l.W.Rows, l.W.Cols)
		}
		for _, view := range [][]float32{a.A.Data, a.B.Data} {
			if &view[0] != &h.Value[at] {
				t.Fatalf("%s does not lie at %d of the flat slice", l.Name, at)
			}
			at += len(view)
		}
		nntest.Near(t, l.Name+" B", a.B.Data, make([]float64, len(a.B.Data)), 0)
		if how == "kaiming" {
			if err := distributed(a.A.Data, "uniform", 1/math.Sqrt(float64(a.A.Cols))); err != nil {
				t.Errorf("%s: %v", l.Name, err)
			}
		}
		if seen[a.A.Data[0]] {
			t.Errorf("%s begins with another layer's draw", l.Name)
		}
		seen[a.A.Data[0]] = true
	}
	if at != len(h.Value) || len(h.Grad) != at || !slices.Equal(h.Value, h.Merged) {
		t.Errorf("%d numbers in layers, %d in Value, %d in Grad; or Merged is not Value", at, len(h.Value), len(h.Grad))
	}
	v.UseLocal(h)
	// W − s·0·A + s·0·A is W, to the bit.
	if got := v.Forward(images).Data; !slices.Equal(got, before) {
		t.Errorf("a new head changes the logits from %v to %v", before, got)
	}
}

// Fails when head k is not the same head in runs of different N (it would then be drawn from a stream that others
// share, or from more than its own), and when two heads are alike.
func TestHeadIsOfSeedAndRank(t *testing.T) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		run := func(heads uint64) (all [][]float32) {
			for k := range heads { // each on a rank of its own, whose model has one seed
				v, err := New(broad(), b, random.Stream(7, "weights"))
				if err != nil {
					t.Fatal(err)
				}
				h, err := newHead(v, lora.Config{Rank: 4, Alpha: 4, Init: "orthogonal"}, random.Stream(7, "head", k))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, h.Value)
			}
			return all
		}
		two, three := run(2), run(3)
		for k := range two {
			if !slices.Equal(two[k], three[k]) {
				t.Errorf("head %d of 2 is not head %d of 3", k, k)
			}
		}
		if slices.Equal(two[0], two[1]) {
			t.Error("heads 0 and 1 are alike")
		}
	})
}
