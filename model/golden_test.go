package model

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn"
	"lte/nn/nntest"

	"github.com/nlpodyssey/safetensors"
)

// The golden numbers are float64 results of PyTorch (tools/vectors.py), so what is measured is this program's float32
// alone. PyTorch's own float32 strays from them by up to 2.5e-6 of a gradient's largest value; another order of the
// same sums may stray a few times that: 1e-5. A forward pass is half as long and is summed over no rows, and float32
// rounds at 6e-8: 5e-6 is 80 roundings, and ours stray by 2e-7.
const (
	gradientTolerance = 1e-5
	forwardTolerance  = 5e-6
)

type golden struct {
	t      *testing.T
	file   safetensors.SafeTensors
	meta   map[string]string
	unread map[string]bool // what no test has asked for
	images []float32
	labels []int
	logits []float64
	loss   float64
}

func readGolden(t *testing.T, name string) *golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".safetensors")
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{t: t, unread: map[string]bool{}}
	if g.file, err = safetensors.Deserialize(raw); err != nil {
		t.Fatal(err)
	}
	_, m, err := safetensors.ReadMetadata(raw)
	if err != nil {
		t.Fatal(err)
	}
	g.meta = m.Metadata()
	for _, name := range g.file.Names() {
		g.unread[name] = true
	}
	height, width := g.image()
	g.images, g.logits = narrow(g.tensor("images", 3, 3, height, width)), g.tensor("logits", 3, 5)
	for _, l := range g.tensor("labels", 3) {
		g.labels = append(g.labels, int(l))
	}
	g.loss = g.tensor("loss", 1)[0]
	return g
}

// tensor returns the tensor of that name, which must have that shape.
func (g *golden) tensor(name string, shape ...int) []float64 {
	g.t.Helper()
	v, ok := g.file.Tensor(name)
	if !ok {
		g.t.Fatalf("no tensor %q", name)
	}
	var got []int
	for _, s := range v.Shape() {
		got = append(got, int(s))
	}
	if !slices.Equal(got, shape) {
		g.t.Fatalf("%s has shape %v, the model's is %v", name, got, shape)
	}
	delete(g.unread, name)
	values := 1
	for _, size := range shape {
		values *= size
	}
	x, b := make([]float64, values), v.Data()
	for i := range x {
		switch d := v.DType().String(); d {
		case "F32":
			x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		case "F64":
			x[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case "I64":
			x[i] = float64(int64(binary.LittleEndian.Uint64(b[8*i:])))
		default:
			g.t.Fatalf("%s has dtype %s", name, d)
		}
	}
	return x
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func (g *golden) number(key string) float64 {
	g.t.Helper()
	x, err := strconv.ParseFloat(g.meta[key], 64)
	if err != nil {
		g.t.Fatalf("metadata %s: %v", key, err)
	}
	return x
}

// image is the images' size; a file with one number for both sides has square ones.
func (g *golden) image() (height, width int) {
	if _, square := g.meta["image_size"]; square {
		return int(g.number("image_size")), int(g.number("image_size"))
	}
	return int(g.number("image_height")), int(g.number("image_width"))
}

// config is the shape of the file's model, by torchvision's names of its numbers.
func (g *golden) config() Config {
	n := func(key string) int { return int(g.number(key)) }
	c := Config{Channels: 3, Classes: n("num_classes"), Patch: n("patch_size"), Depth: n("num_layers"), Width: n("hidden_dim"),
		NormAffine: g.meta["layer_norm_affine"] == "true", Batch: 3}
	c.ImageHeight, c.ImageWidth = g.image()
	if _, mixer := g.meta["token_mlp_dim"]; mixer {
		c.Kind, c.MLP, c.TokenMLP = "mixer", n("channel_mlp_dim"), n("token_mlp_dim")
	} else {
		c.Kind, c.MLP, c.Heads, c.Positions = "vit", n("mlp_dim"), n("num_heads"), "learned"
	}
	return c
}

// model builds the file's model and gives it the file's parameters.
func (g *golden) model(b compute.Backend) *Model {
	g.t.Helper()
	if got := g.number("layer_norm_eps"); got != nn.LayerNormEps {
		g.t.Fatalf("the file's LayerNorm eps is %v, the model's %v", got, nn.LayerNormEps)
	}
	v := newModel(g.t, g.config(), b)
	for _, p := range g.parameters(v) {
		copy(p.Value.Float32(), narrow(g.tensor("param/"+p.Name, p.Shape...)))
	}
	return v
}

// parameters are the model's that the file has: all, but LayerNorm's where it has no affine.
func (g *golden) parameters(v *Model) []Parameter {
	return slices.DeleteFunc(slices.Clone(v.Parameters()), func(p Parameter) bool {
		return isNorm(p.Name) && g.meta["layer_norm_affine"] == "false"
	})
}

// Fails when a parameter has another name or shape than torchvision's (a mixer's: timm's), and when any equation of the
// forward or the backward pass is not theirs: the order of q, k and v, the columns of the patches, the sides of token
// mixing, GELU's form, LayerNorm's eps, label smoothing.
func TestGoldenWeights(t *testing.T) {
	for _, name := range []string{"vit", "vit_plain", "mixer", "mixer_plain"} {
		t.Run(name, func(t *testing.T) {
			nntest.Backends(t, func(t *testing.T, b compute.Backend) {
				g := readGolden(t, name)
				v := g.model(b)
				trainAll(v)
				logits, loss := step(v, g.images, g.labels, g.number("label_smoothing"))
				worst := nntest.Near(t, "logits", logits, g.logits, forwardTolerance)
				nntest.Near(t, "loss", []float64{loss}, []float64{g.loss}, forwardTolerance)
				gradients := 0.0
				for _, p := range g.parameters(v) {
					gradients = max(gradients, nearGradient(t, p.Name, p.Grad, g.tensor("grad/"+p.Name, p.Shape...)))
				}
				if len(g.unread) > 0 {
					t.Errorf("the file has what the model has not: %v", g.unread)
				}
				t.Logf("logits stray by %.1e, gradients by %.1e", worst, gradients)
			})
		})
	}
}

// Fails when a layer has no adapter, when W_k is not W − s·B'A' + s·BA, and when a factor's gradient is not
// s·G·Aᵀ or s·Bᵀ·G. And when evaluation reads anything but W: UseMerged must give the plain file's logits, whose weights
// and images are the same.
func TestGoldenLoRA(t *testing.T) {
	for _, kind := range []string{"vit", "mixer"} {
		t.Run(kind, func(t *testing.T) { testGoldenLoRA(t, kind) })
	}
}

func testGoldenLoRA(t *testing.T, kind string) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		g, plain := readGolden(t, kind+"_lora"), readGolden(t, kind+"_plain")
		v, scale := g.model(b), g.number("scale")
		rank := int(g.number("rank"))
		h, err := newHead(v, lora.Config{Rank: rank, Alpha: scale * float64(rank), Init: "orthogonal"}, nntest.Source(1))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range v.Layers() {
			a, m, n := h.Adapter(l), l.W.Rows, l.W.Cols
			copy(a.A.Data, narrow(g.tensor("lora/"+l.Name+"/A", rank, n)))
			copy(a.B.Data, narrow(g.tensor("lora/"+l.Name+"/B", m, rank)))
			copy(a.Merged.A.Data, narrow(g.tensor("lora/"+l.Name+"/A_merged", rank, n)))
			copy(a.Merged.B.Data, narrow(g.tensor("lora/"+l.Name+"/B_merged", m, rank)))
		}
		h.Rebase()
		v.UseLocal(h)
		logits, loss := step(v, g.images, g.labels, g.number("label_smoothing"))
		nntest.Near(t, "logits", logits, g.logits, forwardTolerance)
		nntest.Near(t, "loss", []float64{loss}, []float64{g.loss}, forwardTolerance)
		at, gradients := 0, 0.0
		for _, l := range v.Layers() {
			m, n := l.W.Rows, l.W.Cols
			for _, f := range []struct {
				name       string
				rows, cols int
				grad       []float32
			}{{"A", rank, n, h.Adapter(l).Grad.A.Data}, {"B", m, rank, h.Adapter(l).Grad.B.Data}} {
				want := g.tensor("grad/"+l.Name+"/"+f.name, f.rows, f.cols)
				gradients = max(gradients, nntest.Near(t, l.Name+"/"+f.name, f.grad, want, gradientTolerance))
				// The flat slice holds the same, layer after layer, A before B.
				nntest.Near(t, "Head.Grad at "+l.Name+"/"+f.name, h.Grad[at:at+len(want)], want, gradientTolerance)
				at += len(want)
			}
		}
		if at != len(h.Grad) || len(g.unread) > 0 {
			t.Errorf("%d of %d numbers of Head.Grad compared; not read of the file: %v", at, len(h.Grad), g.unread)
		}
		v.UseMerged()
		nntest.Near(t, "merged logits", v.Forward(plain.images).Data, plain.logits, forwardTolerance)
		if !slices.Equal(g.images, plain.images) {
			t.Error("the two files are not of the same images")
		}
		t.Logf("gradients stray by %.1e", gradients)
	})
}

// Fails when the parameters leave torchvision's (timm's) order, which an export and a checkpoint have, or the layers leave it,
// which is the order of the factors that ranks exchange; and when weight decay would reach a bias, a LayerNorm or an
// embedding.
func TestParameters(t *testing.T) {
	const vit = `class_token
conv_proj.weight decay
conv_proj.bias
encoder.pos_embedding
encoder.layers.encoder_layer_0.ln_1.weight
encoder.layers.encoder_layer_0.ln_1.bias
encoder.layers.encoder_layer_0.self_attention.in_proj_weight decay
encoder.layers.encoder_layer_0.self_attention.in_proj_bias
encoder.layers.encoder_layer_0.self_attention.out_proj.weight decay
encoder.layers.encoder_layer_0.self_attention.out_proj.bias
encoder.layers.encoder_layer_0.ln_2.weight
encoder.layers.encoder_layer_0.ln_2.bias
encoder.layers.encoder_layer_0.mlp.0.weight decay
encoder.layers.encoder_layer_0.mlp.0.bias
encoder.layers.encoder_layer_0.mlp.3.weight decay
encoder.layers.encoder_layer_0.mlp.3.bias
encoder.ln.weight
encoder.ln.bias
heads.head.weight decay
heads.head.bias
`
	const mixer = `stem.proj.weight decay
stem.proj.bias
blocks.0.norm1.weight
blocks.0.norm1.bias
blocks.0.mlp_tokens.fc1.weight decay
blocks.0.mlp_tokens.fc1.bias
blocks.0.mlp_tokens.fc2.weight decay
blocks.0.mlp_tokens.fc2.bias
blocks.0.norm2.weight
blocks.0.norm2.bias
blocks.0.mlp_channels.fc1.weight decay
blocks.0.mlp_channels.fc1.bias
blocks.0.mlp_channels.fc2.weight decay
blocks.0.mlp_channels.fc2.bias
norm.weight
norm.bias
head.weight decay
head.bias
`
	for _, test := range []struct {
		Config
		affine bool
		want   string
	}{{tiny(), false, vit}, {tiny(), true, vit}, {tinyMixer(), false, mixer}, {tinyMixer(), true, mixer}} {
		c, want := test.Config, test.want
		c.Depth, c.NormAffine = 1, test.affine
		b, err := compute.New("gonum", 1, compute.Float32)
		if err != nil {
			t.Fatal(err)
		}
		v := newModel(t, c, b)
		var got strings.Builder
		layers := v.Layers()
		for _, p := range v.Parameters() {
			got.WriteString(p.Name)
			if p.Decay {
				got.WriteString(" decay")
				if len(layers) == 0 || &layers[0].W.Float32()[0] != &p.Value.Float32()[0] {
					t.Fatalf("%s is not the weight of the next of Layers", p.Name)
				}
				layers = layers[1:]
			}
			got.WriteByte('\n')
		}
		if got.String() != want {
			t.Errorf("%s, affine %v: parameters are\n%swant\n%s", c.Kind, test.affine, got.String(), want)
		}
	}
}
