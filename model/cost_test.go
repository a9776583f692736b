package model

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn"
	"lte/nn/nntest"
)

// live is the bytes of what can be reached.
func live() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied at the second
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func gonum(t *testing.T) compute.Backend {
	t.Helper()
	b, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shapes are models of megabytes, with and without what makes room for itself. Most buffers are whole pages of 8 KiB, as Go
// allocates them.
func shapes() (all []Config) {
	for _, kind := range []string{"vit", "mixer"} {
		c := Config{ImageHeight: 32, ImageWidth: 32, Channels: 3, Classes: 128, Kind: kind, Patch: 8, Depth: 2, Width: 256, MLP: 512,
			Heads: 4, Positions: "learned", TokenMLP: 128, Batch: 16}
		all = append(all, c)
		c.NormAffine, c.Dropout, c.DropPath, c.Positions = true, 0.1, 0.2, "sincos"
		all = append(all, c)
	}
	return all
}

// Memory that is foreseen without a model is what a model of that shape then takes, to 0.5 % (bf16: 1 %, of half pages): passes alone, and with heads of every
// base that pass by W_k, by G and through the factors. Fails if a buffer is left out, or is another size.
func TestRoom(t *testing.T) {
	for _, c := range shapes() {
		for name, be := range map[string]compute.Backend{"f32": gonum(t), "bf16": nntest.SoftBF16{Backend: gonum(t)}} {
			if name == "bf16" && c.Dropout > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s, dropout %v, %s", c.Kind, c.Dropout, name), func(t *testing.T) {
				images, labels := batchOf(c, c.Batch, 1)
				outline, err := Outline(c)
				if err != nil {
					t.Fatal(err)
				}
				check := func(what string, begin, want int64, keep ...any) {
					t.Helper()
					got := live() - begin
					runtime.KeepAlive(keep)
					tolerance := 0.005
					if name == "bf16" {
						tolerance = 0.01
					}
					if math.Abs(float64(got-want)) > tolerance*float64(want)+20e3 {
						t.Errorf("%s: %d bytes are live, %d foreseen", what, got, want)
					}
				}
				run := func(v *Model) {
					v.ZeroGrad()
					step(v, images, labels, 0, nn.NewNoise(nntest.Source(1)))
				}
				d := be.DType()
				begin := live()
				v := newModel(t, c, be)
				run(v)
				model := int64(outline.WeightBytes(d) + outline.PassBytes(d, c.Batch))
				check("model", begin, model, v)
				for _, h := range []lora.Config{
					{Rank: 16, Base: lora.CachedBase}, {Rank: 192, Base: lora.MainWeightBase, Bias: true}, {Rank: 2, Base: lora.RecomputedBase}, {Rank: 48, Stack: 2},
				} {
					h.Alpha, h.Init = 1, "kaiming"
					l, err := outline.Layout(h)
					if err != nil {
						t.Fatal(err)
					}
					v = nil
					begin := live()
					v = newModel(t, c, be)
					head, err := newHead(v, h, []*rand.Rand{nntest.Source(1), nntest.Source(2)}[:max(1, h.Stack)]...)
					if err != nil {
						t.Fatal(err)
					}
					if head.Factored() != l.Factored() {
						t.Errorf("%+v: thin %v, foreseen %v", h, head.Factored(), l.Factored())
					}
					v.UseLocal(head)
					run(v)
					own, shared := l.Bytes(d)
					check(fmt.Sprintf("with a head %+v", h), begin, model+int64(own+shared)+4*int64(l.Length), v, head)
				}
			})
		}
	}
}

// Fails if an outline has other names, shapes or layouts than a model, or a model counts more than its parameters.
func TestOutline(t *testing.T) {
	for _, c := range shapes() {
		v, o := newModel(t, c, gonum(t)), outlineOf(t, c)
		if fmt.Sprint(names(v)) != fmt.Sprint(names(o)) {
			t.Errorf("parameters %v, of the outline %v", names(v), names(o))
		}
		all, trainable := o.Sizes()
		if 4*all != len(v.storage) || trainable != len(v.Flat()) {
			t.Errorf("%d values, %d of them trainable; the outline says %d, %d", len(v.storage)/4, len(v.Flat()), all, trainable)
		}
		h := lora.Config{Rank: 4, Alpha: 1, Init: "kaiming", Bias: true}
		real, err := v.Layout(h)
		if err != nil {
			t.Fatal(err)
		}
		drawn, err := o.Layout(h)
		if err != nil {
			t.Fatal(err)
		}
		if real.Length != drawn.Length || len(real.Layers) != len(drawn.Layers) {
			t.Errorf("a head of %d numbers in %d layers; the outline says %d, %d", real.Length, len(real.Layers), drawn.Length, len(drawn.Layers))
		}
		match := func(name string) bool { return name == v.parameters[v.layerIndex[1]].Name }
		trained, grads := v.Train(match)
		drawnTrained, none := o.Train(match)
		outlined := 0
		for _, p := range drawnTrained {
			outlined += p.Len()
		}
		if len(grads) == 0 || len(grads) != outlined || len(trained) != len(drawnTrained) || none != nil {
			t.Errorf("%d gradients, %d of the outline", len(grads), outlined)
		}
		weight, bias := o.layers[1].Trains()
		if w, b := v.layers[1].Trains(); !weight || bias || !w || b {
			t.Errorf("weight and bias train: %v, %v; of the outline %v, %v", w, b, weight, bias)
		}
	}
}

func outlineOf(t *testing.T, c Config) *Model {
	t.Helper()
	o, err := Outline(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func names(m *Model) (all []string) {
	for _, p := range m.Parameters() {
		all = append(all, fmt.Sprint(p.Name, p.Shape, p.Decay))
	}
	return all
}

// Operations that are foreseen are those that a step makes, as a meter counts them. Fails if a product is left out or counted
// with another side.
func TestOperations(t *testing.T) {
	for _, c := range shapes() {
		meter := compute.NewMeter(gonum(t))
		images, labels := batchOf(c, c.Batch, 1)
		c.Dropout, c.DropPath = 0, 0
		counted := func(v *Model, n int) (operations float64) {
			*meter.Tallies = [compute.Kinds]compute.Tally{}
			v.ZeroGrad()
			step(v, images[:len(images)/c.Batch*n], labels[:n], 0)
			for _, tally := range meter.Tallies {
				operations += tally.FLOPs
			}
			return operations / float64(n)
		}
		check := func(what string, got, want float64) {
			if math.Abs(got-want) > 1e-9*want {
				t.Errorf("%s %s: %v operations foreseen, %v counted", c.Kind, what, got, want)
			}
		}
		v, o := newModel(t, c, meter), outlineOf(t, c)
		trainAll(v)
		check("all weights", o.FLOPs(nil), counted(v, c.Batch))
		for _, h := range []lora.Config{
			{Rank: 16, Base: lora.CachedBase}, {Rank: 192, Base: lora.MainWeightBase}, {Rank: 2, Base: lora.RecomputedBase, Images: 1}, {Rank: 2, Base: lora.RecomputedBase}, {Rank: 8, Stack: 2},
		} {
			h.Alpha, h.Init = 1, "kaiming"
			v, o := newModel(t, c, meter), outlineOf(t, c)
			beside := func(name string) bool { return name == v.layers[2].Name+".weight" }
			v.Train(beside)
			o.Train(beside)
			head, err := newHead(v, h, []*rand.Rand{nntest.Source(1), nntest.Source(2)}[:max(1, h.Stack)]...)
			if err != nil {
				t.Fatal(err)
			}
			l, err := o.Layout(h)
			if err != nil {
				t.Fatal(err)
			}
			if head.Factored() != l.Factored() || h.Images == 1 && l.Factored() != (c.Kind == "vit") {
				t.Errorf("%+v: thin %v, foreseen %v", h, head.Factored(), l.Factored())
			}
			v.UseLocal(head)
			check(fmt.Sprintf("%+v", h), o.FLOPs(l), counted(v, cmp.Or(h.Images, c.Batch)))
		}
	}
}

// Fails if a count overflows: every buffer of a pass grows with the images as they do, to any number of them.
func TestRoomOfManyImages(t *testing.T) {
	for _, c := range shapes() {
		m, err := Outline(c)
		if err != nil {
			t.Fatal(err)
		}
		one := m.PassBytes(compute.Float32, 1)
		for _, images := range []int{1 << 20, 1 << 40, 1 << 62} {
			if got := m.PassBytes(compute.Float32, images); math.Abs(got/(one*float64(images))-1) > 1e-12 {
				t.Errorf("%s: %v bytes for %d images, %v for one", c.Kind, got, images, one)
			}
		}
	}
}

// Fails if a stack of heads is laid out whose length no integer holds.
func TestTooManyHeadsForAnyMemory(t *testing.T) {
	m, err := Outline(shapes()[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Layout(lora.Config{Rank: 128, Alpha: 1, Init: "kaiming", Stack: 1 << 58})
	if err == nil || !strings.Contains(err.Error(), "lower lora.heads or lora.rank") {
		t.Error(err)
	}
}
