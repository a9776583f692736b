//go:build !cgo

package compute

// Describe says that this build has the pure-Go back end alone.
func Describe() string { return "gonum, pure Go (built without cgo)" }

func everyISA(int, DType) map[string]Backend { return nil }

// Oversubscribed is false: no threads.
func Oversubscribed(ranks, threads int) bool { return false }
