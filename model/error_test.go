package model

import (
	"fmt"
	"testing"

	"lte/compute"
)

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Fails when a shape that no model can have is accepted or one that a model can have refused, and when an error no
// longer names the key, its value and what it must fit.
func TestConfigErrors(t *testing.T) {
	b, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"right", func(*Config) {}, ""},
		{"one patch", func(c *Config) { c.ImageWidth, c.Patch = 4, 4 }, ""},
		{"learned positions of any width", func(c *Config) { c.Width, c.Heads = 9, 3 }, ""},
		{"higher than the image", func(c *Config) { c.Patch = 5 },
			"model.patch = 5 is larger than the images, which are 4×6: choose a patch that divides both sides"},
		{"wider than the image", func(c *Config) { c.ImageHeight, c.Patch = 16, 8 },
			"model.patch = 8 is larger than the images, which are 16×6: choose a patch that divides both sides"},
		{"does not divide the height", func(c *Config) { c.Patch = 3 }, "model.patch = 3 does not divide the images, which are 4×6"},
		{"does not divide the width", func(c *Config) { c.Patch = 4 }, "model.patch = 4 does not divide the images, which are 4×6"},
		{"heads", func(c *Config) { c.Heads = 3 }, "model.width = 8 is not a multiple of model.heads = 3"},
		{"sinusoids", func(c *Config) { c.Width, c.Positions = 6, "sincos" },
			`model.width = 6 is not a multiple of 4, which model.positions = "sincos" needs`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := tiny()
			test.change(&c)
			if got := message(c.Check()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if _, err := NewViT(c, b, source(1)); message(err) != test.want {
				t.Errorf("NewViT: got  %s\nwant %s", message(err), test.want)
			}
		})
	}
}

// Fails when a rank beyond a layer's short side passes (but for the patch embedding's and the classifier's, which the
// data set), when a right one is refused, and when an error no longer says which key to set to what.
func TestAttachHeadErrors(t *testing.T) {
	const in = "encoder.layers.encoder_layer_0.self_attention.in_proj"
	for _, test := range []struct {
		name       string
		width, mlp int
		head       HeadConfig
		want       string
	}{
		{"as large as the width", 8, 12, HeadConfig{8, 8, "orthogonal"}, ""},
		{"as large as the MLP", 8, 4, HeadConfig{4, 8, "kaiming"}, ""},
		{"larger than the width", 8, 12, HeadConfig{9, 9, "orthogonal"},
			`lora rank 9 is larger than layer "` + in + `" (24×8) allows: set lte.rank to at most 8, or enlarge model.width`},
		{"larger than the MLP", 8, 4, HeadConfig{5, 5, "orthogonal"},
			`lora rank 5 is larger than layer "encoder.layers.encoder_layer_0.mlp.0" (4×8) allows: set lte.rank to at most 4, or enlarge model.mlp`},
		{"larger than both", 8, 4, HeadConfig{9, 9, "orthogonal"},
			`lora rank 9 is larger than layer "encoder.layers.encoder_layer_0.mlp.0" (4×8) allows: set lte.rank to at most 4, or enlarge model.mlp`},
		{"unknown initialisation", 8, 12, HeadConfig{2, 2, "he"},
			`unknown initialisation "he" of the factor A: expected orthogonal or kaiming`},
	} {
		t.Run(test.name, func(t *testing.T) {
			backends(t, func(t *testing.T, b compute.Backend) {
				c := tiny()
				c.Width, c.MLP = test.width, test.mlp
				v := newViT(t, c, b)
				h, err := v.AttachHead(test.head, source(1))
				if got := message(err); got != test.want {
					t.Fatalf("got  %s\nwant %s", got, test.want)
				}
				for _, l := range v.Layers() {
					if (h != nil) != (l.Adapter() != nil) {
						t.Errorf("%s: adapter %v beside head %v", l.Name, l.Adapter(), h)
					}
				}
			})
		})
	}
}

// Fails when a batch beyond the buffers is not refused by the message that says so.
func TestForwardRefusesLargeBatch(t *testing.T) {
	backends(t, func(t *testing.T, b compute.Backend) {
		v := newViT(t, tiny(), b)
		images, _ := batchOf(tiny(), 3, 1)
		defer func() {
			if got := fmt.Sprint(recover()); got != "model: batch larger than the model's buffers" {
				t.Errorf("panic %q", got)
			}
		}()
		v.Forward(images)
	})
}
