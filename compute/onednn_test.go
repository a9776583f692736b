//go:build cgo

package compute

import (
	"strings"
	"testing"
)

// A CPU without bf16 products is an error that names it; the back end does not compute in float32 instead.
func TestBF16IsRefusedWithoutTheCPU(t *testing.T) {
	_, err := openOneDNN(1, BFloat16, false)
	if err == nil || !strings.Contains(err.Error(), Features()) || !strings.Contains(err.Error(), `use compute.dtype = "f32"`) {
		t.Error(err)
	}
}
