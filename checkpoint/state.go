package checkpoint

// State names the memory that the future of a run depends on. Saving copies it, and restoring copies it back: nothing can be saved
// that is not restored.
type State struct {
	Shared Tensors // the same on all ranks
	Own    Tensors // of this rank
}

// Tensors is a list of named memory.
type Tensors []Tensor

// Floats adds a slice.
func (t *Tensors) Floats(name string, x []float32) { *t = append(*t, Floats(name, x)) }

// Int adds an integer.
func (t *Tensors) Int(name string, x *int) { *t = append(*t, Int(name, x)) }

// Real adds a float64.
func (t *Tensors) Real(name string, x *float64) { *t = append(*t, Real(name, x)) }
