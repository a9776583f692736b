package model

import (
	"fmt"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn"
	"lte/nn/nntest"
)

// Every strategy of a pass is one function with one gradient: W_k formed, of each base, or the factors alone; the factors'
// gradients by the factors or by the weight's gradient G. The reference forms W_k and is itself compared with difference
// quotients and PyTorch.
//
// Fails when a product lacks s, a gradient has A' for A, or a base is not what the products add to.
func TestStrategiesAreOneFunction(t *testing.T) {
	type result struct {
		logits, grad, weights []float32
		origins               []lora.Origin // the cached bases
	}
	for _, bias := range []bool{false, true} {
		models(t, func(t *testing.T, c Config, b compute.Backend) {
			c.Batch = 4
			images, labels := batchOf(c, 4, 5)
			var want result
			run := func(base lora.Base, strategy func(a *lora.Adapter)) result {
				v := lively(t, c, b)
				h := livelyHeadOf(t, v, lora.Config{Base: base, Bias: bias})
				var origins []lora.Origin
				switch base {
				case lora.CachedBase:
					for _, l := range v.Layers() {
						w, b := h.Adapter(l).Base()
						origins = append(origins, lora.Origin{W: compute.Float32Weights(l.W.Rows, l.W.Cols, w), B: b})
					}
				case lora.OriginBase:
					h.Layout.SetOrigins(want.origins)
				}
				if base == lora.MainWeightBase { // W is there what the others' own base is
					for _, p := range h.Layout.Layers {
						a := h.Adapter(p.Layer)
						p.Layer.W.AddProduct(b, compute.F32(p.Layer.W.Read(0, p.Layer.W.Rows, nil)), -a.Scale, a.Merged.B, a.Merged.A)
						a.Merged.AddBias(p.Layer.B, -a.Scale)
					}
				}
				for _, l := range v.Layers() {
					strategy(h.Adapter(l))
				}
				grads := trainAll(v)
				v.UseLocal(h)
				step(v, images, labels, 0.1)
				v.ZeroGrad()
				step(v, images, labels, 0.1)
				logits, _ := step(v, images, labels, 0.1) // added to the second, not to the first
				return result{logits, h.Grad, grads, origins}
			}
			formed := func(a *lora.Adapter) { a.SetStrategy(lora.Strategy{}) }
			want = run(lora.CachedBase, formed)
			for base, name := range []string{"cached", "recomputed", "main weight", "origin"} {
				for strategy, set := range map[string]func(a *lora.Adapter){
					"factored":                    func(a *lora.Adapter) { a.SetStrategy(lora.Strategy{Factored: true}) },
					"formed":                      formed,
					"formed, via weight gradient": func(a *lora.Adapter) { a.SetStrategy(lora.Strategy{ViaWeightGrad: true}) },
				} {
					what := fmt.Sprintf("%s base, %s, bias %v: ", name, strategy, bias)
					got := run(lora.Base(base), set)
					nntest.Near(t, what+"logits", got.logits, nntest.Wide(want.logits), forwardTolerance)
					nntest.Near(t, what+"gradient", got.grad, nntest.Wide(want.grad), gradientTolerance)
					nntest.Near(t, what+"gradient of the weights", got.weights, nntest.Wide(want.weights), gradientTolerance)
				}
			}
		})
	}
}

// A frozen A that all heads share changes nothing but that it has no gradient.
//
// Fails if a strategy leaves out more than A's gradient, or if the flat slice has room for A.
func TestFrozenA(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		c.Batch = 4
		images, labels := batchOf(c, 4, 5)
		for _, strategy := range []lora.Strategy{{}, {Factored: true}, {ViaWeightGrad: true}} {
			run := func(frozen bool) (logits, grads []float32, gradB [][]float32) {
				v := lively(t, c, b)
				l, err := v.Layout(lora.Config{Rank: 2, Alpha: 3, Init: "orthogonal", Base: lora.OriginBase, FreezeA: frozen})
				if err != nil {
					t.Fatal(err)
				}
				values := 0
				for _, p := range l.Layers {
					values += p.Rank * p.Layer.W.Rows
				}
				if frozen {
					l.DrawBasis(nntest.Source(3))
					if l.Length != values {
						t.Errorf("%d values of a head, expected %d of B", l.Length, values)
					}
				}
				h := l.NewHead(make([]float32, l.Length), nntest.Source(3))
				rng := nntest.Source(4)
				for _, p := range l.Layers {
					a := h.Adapter(p.Layer)
					a.SetStrategy(strategy)
					nn.Normal(a.B.Data, 0.25, rng)
				}
				grads = trainAll(v)
				v.UseLocal(h)
				logits, _ = step(v, images, labels, 0.1)
				for _, p := range l.Layers {
					gradB = append(gradB, h.Adapter(p.Layer).Grad.B.Data)
				}
				return logits, grads, gradB
			}
			want, wantGrads, wantB := run(false)
			got, gotGrads, gotB := run(true)
			what := fmt.Sprintf("%+v: ", strategy)
			nntest.Near(t, what+"logits", got, nntest.Wide(want), 1e-7)
			nntest.Near(t, what+"gradient of the weights", gotGrads, nntest.Wide(wantGrads), 1e-7)
			for i := range wantB {
				nntest.Near(t, what+"gradient of B", gotB[i], nntest.Wide(wantB[i]), 1e-7)
			}
		}
	})
}

// Several heads in one pass are each what it is in a pass of its own. Fails when a head is given another's rows, or the
// bias of another.
func TestHeadsShareAPass(t *testing.T) {
	for _, bias := range []bool{false, true} {
		models(t, func(t *testing.T, c Config, b compute.Backend) {
			c.Batch = 6
			images, labels := batchOf(c, 6, 5)
			heads := func(v *Model) (all []*lora.Head) {
				l, err := v.Layout(lora.Config{Rank: 1, Alpha: 1.5, Init: "kaiming", Bias: bias, Base: lora.RecomputedBase, Images: 2})
				if err != nil {
					t.Fatal(err)
				}
				for k := range uint64(3) {
					h := l.NewHead(make([]float32, l.Length), nntest.Source(k))
					for _, layer := range v.Layers() { // by FLOPs some would form W_k
						h.Adapter(layer).SetStrategy(lora.Strategy{Factored: true})
					}
					nn.Normal(h.Value, 0.25, nntest.Source(10+k))
					nn.Normal(h.Merged, 0.25, nntest.Source(20+k))
					all = append(all, h)
				}
				return all
			}
			v := lively(t, c, b)
			together := heads(v)
			v.UseLocal(together...)
			logits, _ := step(v, images, labels, 0.1)
			for k, alone := range heads(v) {
				if !alone.Factored() {
					t.Fatal("not factored")
				}
				v.ZeroGrad()
				v.UseLocal(alone)
				size := len(images) / 3
				want, _ := step(v, images[k*size:(k+1)*size], labels[2*k:2*k+2], 0.1)
				nntest.Near(t, "logits", logits[k*2*c.Classes:(k+1)*2*c.Classes], nntest.Wide(want), forwardTolerance)
				for i := range alone.Grad {
					alone.Grad[i] /= 3 // of the mean over three times as many images
				}
				nntest.Near(t, "gradient", together[k].Grad, nntest.Wide(alone.Grad), gradientTolerance)
			}
		})
	}
}

// Fails when a stack of heads (mhlora) is not the sum of them, each drawn from its own stream.
func TestStack(t *testing.T) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		v := lively(t, tiny(), b)
		c := lora.Config{Rank: 2, Alpha: 3, Init: "orthogonal"}
		var single [3]*lora.Head
		for k := range single {
			h, err := newHead(v, c, nntest.Source(uint64(k)))
			if err != nil {
				t.Fatal(err)
			}
			single[k] = h
		}
		c.Stack = 3
		stack, err := newHead(v, c, nntest.Source(0), nntest.Source(1), nntest.Source(2))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range stack.Layout.Layers {
			a := stack.Adapter(p.Layer)
			r := p.Rank / 3
			for k, h := range single {
				if p.Rank != 3*h.Adapter(p.Layer).A.Rows || p.Scale != 1.5 {
					t.Fatalf("%s: rank %d, s %v", p.Layer.Name, p.Rank, p.Scale)
				}
				nntest.Near(t, "A", a.A.Data[k*r*a.A.Cols:(k+1)*r*a.A.Cols], nntest.Wide(h.Adapter(p.Layer).A.Data), 0)
			}
		}
	})
}

// Fails when a rule's rank or alpha is not the layer's, when a layer left out carries a head, or when the first layers'
// factors no longer lie where the layout says.
func TestRules(t *testing.T) {
	b, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	v := lively(t, tiny(), b)
	h, err := newHead(v, lora.Config{Rank: 2, Alpha: 4, Init: "kaiming", Rule: func(layer string) (int, float64, bool) {
		switch layer {
		case "encoder.layers.encoder_layer_0.mlp.0":
			return 5, 0, false
		case "encoder.layers.encoder_layer_0.mlp.3":
			return 0, 10, false
		}
		return 0, 0, layer == "conv_proj"
	}}, nntest.Source(1))
	if err != nil {
		t.Fatal(err)
	}
	end := 0
	for _, l := range v.Layers() {
		a := h.Adapter(l)
		if (a == nil) != (l.Name == "conv_proj") {
			t.Fatalf("%s: adapter %v", l.Name, a)
		}
		if a == nil {
			continue
		}
		rank, scale := 2, float32(2)
		switch l.Name {
		case "encoder.layers.encoder_layer_0.mlp.0":
			rank, scale = 5, 0.8
		case "encoder.layers.encoder_layer_0.mlp.3":
			scale = 5
		}
		if a.A.Rows != rank || a.B.Cols != rank || a.Scale != scale || &a.A.Data[0] != &h.Value[end] {
			t.Errorf("%s: rank %d, s %v", l.Name, a.A.Rows, a.Scale)
		}
		end += len(a.A.Data) + len(a.B.Data)
	}
	if end != len(h.Value) {
		t.Errorf("%d of %d numbers", end, len(h.Value))
	}
}
