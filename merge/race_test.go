//go:build race

package merge_test

// The race detector makes sync.Pool forget at random.
func init() { racing = true }
