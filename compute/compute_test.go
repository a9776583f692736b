package compute_test

import (
	"strings"
	"testing"

	"lte/compute"
	"lte/compute/backendtest"
)

// backends returns every back end and instruction set that this CPU supports in that precision, by name.
func backends(t *testing.T, threads int, d compute.DType) map[string]compute.Backend {
	all := map[string]compute.Backend{}
	for name, b := range compute.EveryISA(threads, d) {
		all[name] = b
	}
	if d == compute.Float32 {
		b, err := compute.New("gonum", threads, d)
		if err != nil {
			t.Fatal(err)
		}
		all["gonum"] = b
	}
	return all
}

func TestBackendsInFloat32(t *testing.T) {
	one := backends(t, 1, compute.Float32)
	for name, b := range one {
		t.Run(name, func(t *testing.T) { backendtest.Run(t, b) })
	}
	for name, b := range backends(t, 2, compute.Float32) {
		t.Run(name+"/2 threads", func(t *testing.T) { backendtest.Run(t, b) })
	}
	for name, b := range backends(t, 3, compute.Float32) {
		t.Run(name+"/bits of 1 and 3 threads", func(t *testing.T) { backendtest.SameBits(t, one[name], b) })
	}
	t.Run("meter", func(t *testing.T) { backendtest.Run(t, compute.NewMeter(one["gonum"])) })
	t.Run("auto", func(t *testing.T) {
		b, err := compute.New("auto", 1, compute.Float32)
		if err != nil {
			t.Fatal(err)
		}
		backendtest.Run(t, b)
	})
}

// Kernels in bfloat16 run on any CPU, products on those that multiply it.
func TestBackendsInBFloat16(t *testing.T) {
	one, single := backends(t, 1, compute.BFloat16), backends(t, 1, compute.Float32)
	if len(one) == 0 {
		t.Skip("no back end with bf16 in this build")
	}
	for name, b := range one {
		t.Run(name, func(t *testing.T) { backendtest.Kernels(t, b) })
		t.Run(name+"/rounds float32", func(t *testing.T) { backendtest.Rounded(t, b, single[name]) })
	}
	for name, b := range backends(t, 3, compute.BFloat16) {
		t.Run(name+"/3 threads", func(t *testing.T) { backendtest.Kernels(t, b) })
		t.Run(name+"/3 threads round float32", func(t *testing.T) { backendtest.Rounded(t, b, single[name]) })
		t.Run(name+"/bits of 1 and 3 threads", func(t *testing.T) { backendtest.SameBits(t, one[name], b) })
	}
	for _, threads := range []int{1, 3} {
		b, err := compute.New("onednn", threads, compute.BFloat16)
		if err != nil {
			t.Skip(err)
		}
		t.Run("products", func(t *testing.T) { backendtest.Products(t, b) })
	}
}

// gonum does not compute in float32 instead.
func TestGonumRefusesBF16(t *testing.T) {
	_, err := compute.New("gonum", 1, compute.BFloat16)
	if err == nil || !strings.Contains(err.Error(), "AVX512_BF16") || !strings.Contains(err.Error(), "gonum computes in f32 only") {
		t.Errorf("gonum in bf16: %v", err)
	}
}

func TestNewNamesTheBackendsOfThisBuild(t *testing.T) {
	_, err := compute.New("cuda", 1, compute.Float32)
	if err == nil || !strings.Contains(err.Error(), `compute.backend = "cuda" is not in this build, which has gonum`) {
		t.Error(err)
	}
}
