//go:build !cgo

package compute

// EveryISA has none: a build without cgo has no kernels of an instruction set.
func EveryISA(int, DType) map[string]Backend { return nil }
