//go:build cgo

package compute

// EveryISA returns a back end for every instruction set that this CPU supports, by name.
func EveryISA(threads int, d DType) map[string]Backend {
	all := map[string]Backend{}
	for _, kernels := range supportedKernels() {
		o := newOneDNN(kernels, threads, d)
		o.strassenFrom = 32 // the tests' matrices are small
		all["onednn/"+isa(kernels)] = o
	}
	return all
}
