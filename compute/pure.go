//go:build !cgo

package compute

var makers = map[string]maker{"gonum": newGonum}

// Auto is the name of the fastest back end in this build.
const Auto = "gonum"

// Describe says that this build has the pure-Go back end only.
func Describe() string { return "gonum, pure Go (built without cgo)" }

// Oversubscribed is false: the back end has no threads of its own.
func Oversubscribed(ranks, threads int) bool { return false }
