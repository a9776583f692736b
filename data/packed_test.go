package data

import (
	"path/filepath"
	"strings"
	"testing"

	"lte/data/packed"
)

// A packed set gives the same batches, bit for bit, as its source. Fails if labels, mean and deviation, the white level or the order are
// lost.
func TestPackedIsItsSource(t *testing.T) {
	folder := writeFolder(t, cats("test"))
	for _, o := range []Source{{}, {Path: folder}, {Path: folder, Size: 4, Fit: Fit{Keep: 0.8}}} {
		for _, c := range []packed.Compression{packed.Raw, packed.Zstd} {
			set, err := Open(o, 1)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), "packed")
			if bad, err := Pack(to, set, packed.Options{Shard: 300, Compression: c}); err != nil || bad != nil {
				t.Fatal(bad, err)
			}
			again := o
			again.Path = to
			copied, err := Open(again, 1)
			if err != nil {
				t.Fatal(err)
			}
			if copied.Name != set.Name || copied.Classes != set.Classes || copied.Height != set.Height || !sameBits(copied.Mean, set.Mean) || !sameBits(copied.Std, set.Std) {
				t.Errorf("%+v: %+v, want %+v", o, copied, set)
			}
			var batches [2][]Batch
			for i, s := range []*Set{set, copied} {
				f := NewFeed(s, FeedOptions{Seed: 1, Batch: 5, Size: 1, Augment: Augment{Affine: jitter.Affine, Flip: true}})
				batches[i] = take(t, f, 9)
				f.Close()
				if err := EachBatch(s, s.Test, 7, 0, 1, func(b *Batch) error {
					batches[i] = append(batches[i], Batch{Images: append([]float32(nil), b.Images...), Labels: append([]int(nil), b.Labels...)})
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if !sameBatches(batches[0], batches[1]) {
				t.Errorf("%+v, %v: other images", o, c)
			}
		}
	}
}

// Fails if pictures of several sizes are accepted without data.size, or if the error does not name the key.
func TestPackedOfManySizes(t *testing.T) {
	to := t.TempDir()
	if bad, err := Pack(to, albumSet(9), packed.Options{Shard: 100}); err != nil || bad != nil {
		t.Fatal(bad, err)
	}
	if _, err := Open(Source{Path: to}, 1); err == nil || !strings.Contains(err.Error(), "set data.size") {
		t.Errorf("without a size: %v", err)
	}
	set, err := Open(Source{Path: to, Size: 8, Fit: Fit{Keep: 0.875}}, 1)
	if err != nil || set.Height != 8 || set.Width != 8 || set.Classes != 9 {
		t.Errorf("%+v, %v", set, err)
	}
	if _, err := Open(Source{Kind: "packed", Path: t.TempDir()}, 1); err == nil || !strings.Contains(err.Error(), "manifest.json") {
		t.Errorf("of an empty folder: %v", err)
	}
}

// Fails if a synthetic set has another shape, equal images, or a wrong mean or deviation.
func TestSynthetic(t *testing.T) {
	shape := Synthetic{Images: 30, Classes: 7, Channels: 2, Height: 9, Width: 5}
	set, err := Open(Source{Kind: "synthetic", Synthetic: shape}, 1)
	if err != nil || set.Classes != 7 || set.Channels != 2 || set.Height != 9 || set.Width != 5 || set.Train.Len() != 30 {
		t.Fatalf("%+v, %v", set, err)
	}
	var n, sum, squares float64
	last := []float32{}
	err = EachBatch(set, set.Train, 10, 0, 1, func(b *Batch) error {
		for _, x := range b.Images {
			n, sum, squares = n+1, sum+float64(x), squares+float64(x*x)
		}
		if sameBits(last, b.Images) || sameBits(b.Images[:90], b.Images[90:180]) {
			t.Error("images are alike")
		}
		last = append(last[:0], b.Images...)
		return nil
	})
	// 2700 values of deviation 1, though neighbours share most: the mean of 120 different ones is within 5/√120.
	if err != nil || n != 2700 || sum/n > 0.46 || sum/n < -0.46 || squares/n > 1.5 || squares/n < 0.6 {
		t.Errorf("%v values, mean %v, mean square %v, %v", n, sum/n, squares/n, err)
	}
	shape.Width = 0
	if _, err := Open(Source{Kind: "synthetic", Synthetic: shape}, 1); err == nil || !strings.Contains(err.Error(), "synthetic.width 0") {
		t.Errorf("without a width: %v", err)
	}
	if _, err := Open(Source{Kind: "synthetic", Path: "x", Synthetic: shape}, 1); err == nil || !strings.Contains(err.Error(), "leave data.path empty") {
		t.Errorf("with a path: %v", err)
	}
}
