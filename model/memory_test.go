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

// Memory that is counted without a model is what a model of that shape then takes, to 0.5 % (bf16: 1 %, of half pages): passes alone,
// and with heads of every base that pass by W_k, by G and through the factors. Fails if a buffer is allocated without the allocator.
func TestCountedMemoryIsThatOfAModel(t *testing.T) {
	for _, c := range shapes() {
		for name, be := range map[string]compute.Backend{"f32": gonum(t), "bf16": nntest.SoftBF16{Backend: gonum(t)}} {
			if name == "bf16" && c.Dropout > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s, dropout %v, %s", c.Kind, c.Dropout, name), func(t *testing.T) {
				images, labels := batchOf(c, c.Batch, 1)
				d := be.DType()
				_, counted := counting(t, c, d)
				check := func(what string, begin, want int64, keep ...any) {
					t.Helper()
					got := live() - begin
					runtime.KeepAlive(keep)
					tolerance := 0.005
					if name == "bf16" {
						tolerance = 0.01
					}
					if math.Abs(float64(got-want)) > tolerance*float64(want)+20e3 {
						t.Errorf("%s: %d bytes are live, %d counted", what, got, want)
					}
				}
				run := func(v *Model) {
					v.ZeroGrad()
					step(v, images, labels, 0, nn.NewNoise(nntest.Source(1)))
				}
				begin := live()
				v := newModel(t, c, be)
				run(v)
				model := int64(counted[compute.WeightMemory] + counted[compute.PassMemory])
				check("model", begin, model, v)
				for _, h := range []lora.Config{
					{Rank: 16, Base: lora.CachedBase}, {Rank: 192, Base: lora.MainWeightBase, Bias: true}, {Rank: 2, Base: lora.RecomputedBase}, {Rank: 48, Stack: 2},
					{Rank: 16, Base: lora.OriginBase}, {Rank: 16, Base: lora.OriginBase, FreezeA: true}, {Rank: 2, Base: lora.OriginBase, FreezeA: true},
				} {
					h.Alpha, h.Init = 1, "kaiming"
					outline, counted := counting(t, c, d)
					l, err := outline.Layout(h)
					if err != nil {
						t.Fatal(err)
					}
					shape := l.AllocateHead(nil)
					v = nil
					begin := live()
					v = newModel(t, c, be)
					head, err := newHead(v, h, []*rand.Rand{nntest.Source(1), nntest.Source(2)}[:max(1, h.Stack)]...)
					if err != nil {
						t.Fatal(err)
					}
					if head.Factored() != shape.Factored() {
						t.Errorf("%+v: factored %v, without memory %v", h, head.Factored(), shape.Factored())
					}
					v.UseLocal(head)
					run(v)
					check(fmt.Sprintf("with a head %+v", h), begin, model+int64(counted[compute.TrainingMemory])+4*int64(l.Length), v, head)
				}
			})
		}
	}
}

// Fails if a model whose memory is only counted has other names, shapes or layouts than one with memory, or Sizes are not the parameters'.
func TestModelWithoutMemoryHasTheSameShapes(t *testing.T) {
	for _, c := range shapes() {
		v := newModel(t, c, gonum(t))
		o, counted := counting(t, c, compute.Float32)
		if fmt.Sprint(names(v)) != fmt.Sprint(names(o)) {
			t.Errorf("parameters %v, without memory %v", names(v), names(o))
		}
		all, trainable := o.Sizes()
		if 4*all != len(v.storage) || trainable != len(v.Flat()) {
			t.Errorf("%d values, %d of them trainable; without memory %d, %d", len(v.storage)/4, len(v.Flat()), all, trainable)
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
			t.Errorf("a head of %d values in %d layers; without memory %d, %d", real.Length, len(real.Layers), drawn.Length, len(drawn.Layers))
		}
		match := func(name string) bool { return name == v.parameters[v.first[v.layers[1]]].Name }
		trained, grads := v.Train(match)
		before := counted[compute.TrainingMemory]
		drawnTrained, none := o.Train(match)
		outlined := 0
		for _, p := range drawnTrained {
			outlined += p.Len()
		}
		if len(grads) == 0 || len(grads) != outlined || len(trained) != len(drawnTrained) || none != nil {
			t.Errorf("%d gradients, %d without memory", len(grads), outlined)
		}
		if got := counted[compute.TrainingMemory] - before; got != float64(4*len(grads)) {
			t.Errorf("%v bytes counted of %d gradients", got, len(grads))
		}
		weight, bias := o.layers[1].Trains()
		if w, b := v.layers[1].Trains(); !weight || bias || !w || b {
			t.Errorf("weight and bias train: %v, %v; without memory %v, %v", w, b, weight, bias)
		}
	}
}

// counting returns a model whose memory is only counted, and where it is.
func counting(t *testing.T, c Config, d compute.DType) (*Model, *compute.Footprint) {
	t.Helper()
	var counted compute.Footprint
	m, err := Allocate(c, nil, compute.Counting(d, &counted))
	if err != nil {
		t.Fatal(err)
	}
	return m, &counted
}

func names(m *Model) (all []string) {
	for _, p := range m.Parameters() {
		all = append(all, fmt.Sprint(p.Name, p.Shape, p.Decay))
	}
	return all
}

// FLOPs that are predicted are those of a step, as a meter counts them. Fails if a product is left out or counted with another side.
func TestFLOPsAreThoseOfAStep(t *testing.T) {
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
				t.Errorf("%s %s: %v FLOPs predicted, %v measured", c.Kind, what, got, want)
			}
		}
		v := newModel(t, c, meter)
		o, _ := counting(t, c, compute.Float32)
		trainAll(v)
		check("all weights", o.FLOPs(nil), counted(v, c.Batch))
		for _, h := range []lora.Config{
			{Rank: 16, Base: lora.CachedBase}, {Rank: 192, Base: lora.MainWeightBase}, {Rank: 2, Base: lora.RecomputedBase, Images: 1}, {Rank: 2, Base: lora.RecomputedBase}, {Rank: 8, Stack: 2},
			{Rank: 16, Base: lora.OriginBase, FreezeA: true}, {Rank: 2, Base: lora.OriginBase, Images: 1, FreezeA: true}, {Rank: 192, Base: lora.OriginBase, FreezeA: true},
		} {
			h.Alpha, h.Init = 1, "kaiming"
			v := newModel(t, c, meter)
			o, _ := counting(t, c, compute.Float32)
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
			if shape := l.AllocateHead(nil); head.Factored() != shape.Factored() || h.Images == 1 && shape.Factored() != (c.Kind == "vit") {
				t.Errorf("%+v: factored %v, without memory %v", h, head.Factored(), shape.Factored())
			}
			v.UseLocal(head)
			check(fmt.Sprintf("%+v", h), o.FLOPs(l), counted(v, cmp.Or(h.Images, c.Batch)))
		}
	}
}

// Every buffer of a pass is proportional to its images: passes are counted for one. Fails too if a count overflows.
func TestPassMemoryIsProportionalToImages(t *testing.T) {
	for _, c := range shapes() {
		for _, d := range []compute.DType{compute.Float32, compute.BFloat16} {
			c.Batch = 1
			_, one := counting(t, c, d)
			for _, c.Batch = range []int{2, 3, 1 << 20, 1 << 40} {
				_, many := counting(t, c, d)
				if got, want := many[compute.PassMemory], float64(c.Batch)*one[compute.PassMemory]; math.Abs(got/want-1) > 1e-12 {
					t.Errorf("%s, %s: %v bytes for %d images, want %v", c.Kind, d, got, c.Batch, want)
				}
			}
		}
	}
}

// A LayerNorm of which one parameter trains has a gradient of both. Fails if it is not counted.
func TestLayerNormGradientsAreCounted(t *testing.T) {
	c := shapes()[1]
	for part, parameters := range map[string]float64{"weight": 2, "bias": 2, "*": 2} {
		o, counted := counting(t, c, compute.Float32)
		o.Train(func(name string) bool {
			return strings.HasPrefix(name, "encoder.ln.") && (part == "*" || strings.HasSuffix(name, part))
		})
		if got := counted[compute.TrainingMemory]; got != 4*parameters*float64(c.Width) {
			t.Errorf("%s: %v bytes of gradients", part, got)
		}
	}
}

// What a head takes beside another is what it takes alone, but for what heads share. Fails if shared memory is counted again.
func TestHeadsShareScratch(t *testing.T) {
	for _, c := range shapes() {
		for _, base := range []lora.Base{lora.CachedBase, lora.RecomputedBase, lora.MainWeightBase} {
			o, counted := counting(t, c, compute.Float32)
			l, err := o.Layout(lora.Config{Rank: 16, Alpha: 1, Init: "kaiming", Base: base})
			if err != nil {
				t.Fatal(err)
			}
			var heads [3]float64
			for i := range heads {
				before := counted[compute.TrainingMemory]
				l.AllocateHead(nil)
				heads[i] = counted[compute.TrainingMemory] - before
			}
			if heads[1] >= heads[0] || heads[1] != heads[2] || heads[1] < 8*float64(l.Length) {
				t.Errorf("%s, base %d: %v bytes", c.Kind, base, heads)
			}
		}
	}
}

// Fails if a stack of heads is laid out whose length no integer holds.
func TestTooManyHeadsForAnyMemory(t *testing.T) {
	m, _ := counting(t, shapes()[0], compute.Float32)
	_, err := m.Layout(lora.Config{Rank: 128, Alpha: 1, Init: "kaiming", Stack: 1 << 58})
	if err == nil || !strings.Contains(err.Error(), "lower lora.heads or lora.rank") {
		t.Error(err)
	}
}
