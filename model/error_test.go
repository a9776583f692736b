package model

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"lte/compute"
	"lte/family"
	"lte/lora"
	"lte/nn/nntest"
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
		{"a mixer has no heads", func(c *Config) { c.Kind, c.Heads, c.TokenMLP = "mixer", 0, 5 }, ""},
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
			if _, err := New(c, b, nntest.Source(1)); message(err) != test.want {
				t.Errorf("New: got  %s\nwant %s", message(err), test.want)
			}
		})
	}
}

// Fails when a kind that is not known passes, or the error does not say which are.
func TestUnknownKind(t *testing.T) {
	c := tiny()
	c.Kind = "gru"
	_, err := New(c, gonum(t), nntest.Source(1))
	if want := `model.kind = "gru" is not known: expected vit or mixer`; message(err) != want {
		t.Errorf("got %s", message(err))
	}
}

// Fails if a family of the table has no networks, or networks are of no family.
func TestEveryFamilyHasNetworks(t *testing.T) {
	if got, want := slices.Sorted(maps.Keys(families)), slices.Sorted(slices.Values(family.Kinds())); !slices.Equal(got, want) {
		t.Errorf("networks of %v, families %v", got, want)
	}
}

// Fails when a rank beyond a layer's short side passes (but for those of the patch embedding, token mixing and the
// classifier, which the data set), when a right one is refused, and when an error no longer says which key to set to what.
func TestLayoutErrors(t *testing.T) {
	const in = "encoder.layers.encoder_layer_0.self_attention.in_proj"
	for _, test := range []struct {
		name       string
		width, mlp int
		head       lora.Config
		want       string
		mixer      bool
	}{
		{"as large as the width", 8, 12, lora.Config{Rank: 8, Init: "orthogonal"}, "", false},
		{"as large as the MLP", 8, 4, lora.Config{Rank: 4, Init: "kaiming"}, "", false},
		{"larger than the width", 8, 12, lora.Config{Rank: 9, Init: "orthogonal"},
			`lora rank 9 is larger than layer "` + in + `" (24×8) allows: set lora.rank to at most 8`, false},
		{"larger than the MLP", 8, 4, lora.Config{Rank: 5, Init: "orthogonal"},
			`lora rank 5 is larger than layer "encoder.layers.encoder_layer_0.mlp.0" (4×8) allows: set lora.rank to at most 4`, false},
		{"larger than both", 8, 4, lora.Config{Rank: 9, Init: "orthogonal"},
			`lora rank 9 is larger than layer "` + in + `" (24×8) allows: set lora.rank to at most 4`, false},
		{"mixer, larger than the tokens and the token MLP", 8, 12, lora.Config{Rank: 8, Init: "orthogonal"}, "", true},
		{"mixer, larger than the channel MLP", 8, 7, lora.Config{Rank: 8, Init: "orthogonal"},
			`lora rank 8 is larger than layer "blocks.0.mlp_channels.fc1" (7×8) allows: set lora.rank to at most 7`, true},
		{"unknown initialisation", 8, 12, lora.Config{Rank: 2, Init: "he"},
			`unknown initialisation "he" of the factor A: expected orthogonal or kaiming`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			nntest.Backends(t, func(t *testing.T, b compute.Backend) {
				c := tiny()
				if test.mixer {
					c = tinyMixer()
				}
				c.Width, c.MLP = test.width, test.mlp
				v := newModel(t, c, b)
				_, err := v.Layout(test.head)
				if got := message(err); got != test.want {
					t.Fatalf("got  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

// Fails when a batch beyond the buffers is not refused by the message that says so.
func TestForwardRefusesLargeBatch(t *testing.T) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		v := newModel(t, tiny(), b)
		images, _ := batchOf(tiny(), 3, 1)
		defer func() {
			if got := fmt.Sprint(recover()); got != "model: batch larger than the model's buffers" {
				t.Errorf("panic %q", got)
			}
		}()
		v.Forward(images)
	})
}
