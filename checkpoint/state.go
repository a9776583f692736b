package checkpoint

import "github.com/nlpodyssey/safetensors"

// State lists the memory that the future of a run depends on. Saving copies from it and restoring copies to it, so that everything that is
// saved is also restored.
type State struct {
	Shared Tensors // equal on all ranks
	Own    Tensors // of this rank
}

// Tensors is a list of named memory.
type Tensors []Tensor

// Floats adds a slice.
func (t *Tensors) Floats(name string, x []float32) { *t = append(*t, Floats(name, x)) }

// Memory adds values in a storage format, by its memory. All formats but "fp32" are bytes to a checkpoint.
func (t *Tensors) Memory(name, format string, x []byte) {
	kind := safetensors.U8
	if format == "fp32" {
		kind = safetensors.F32
	}
	*t = append(*t, Tensor{name, kind, x})
}

// Int adds an integer.
func (t *Tensors) Int(name string, x *int) { *t = append(*t, Int(name, x)) }

// Real adds a float64.
func (t *Tensors) Real(name string, x *float64) { *t = append(*t, Real(name, x)) }
