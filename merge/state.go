package merge

import "fmt"

// State names the memory that later messages depend on: by shared what is the same on all ranks, by own what this rank holds. In fp32
// that is nothing, unless received says that factors have come which are not merged yet.
func (u *Update) State(received bool, shared, own func(name string, x []float32)) {
	if u.scheme.wire == FP32 && !received {
		return
	}
	estimates := shared
	if len(u.slicesOf[u.group.Rank()]) > 0 { // with Rows each rank holds its own parts of the factors
		estimates = own
	}
	for k, x := range u.estimates {
		estimates(fmt.Sprintf(estimateName, k), x)
	}
	for i, x := range u.local {
		own(fmt.Sprintf(localEstimateName, u.group.Rank()*len(u.local)+i), x)
	}
	if u.scheme.wire == FP32 || u.total == 0 {
		return
	}
	own("exchange.sums.own", u.ownSums.estimate)
	own("exchange.sums.incoming", u.flat)
	own("exchange.sums.parts", u.ownParts.estimate)
	shared("exchange.sums", u.sums)
}

// Formats of names in State, of head k: what all ranks hold of it, and what its owner takes its next change from.
const (
	estimateName      = "exchange.estimate.%d"
	localEstimateName = "exchange.local.%d"
)

// HeadOf returns the head that a name in State belongs to, if it belongs to one.
func HeadOf(name string) (k int, ok bool) {
	for _, format := range []string{estimateName, localEstimateName} {
		if n, _ := fmt.Sscanf(name, format, &k); n == 1 {
			return k, true
		}
	}
	return 0, false
}

// RestoredReceived says that State named factors that had come: Stacks can be called.
func (u *Update) RestoredReceived() { u.hasEstimates = true }
