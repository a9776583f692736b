package collective

import "fmt"

// Counted is what was counted as that purpose's, for who goes on counting where another process stopped.
func (m *Meter) Counted(p Purpose) *Traffic { return &m.counts[p] }

// State names the memory that messages to come depend on: what all ranks hold alike, and what this rank holds. In fp32 that is
// nothing, unless something has come and is not taken up yet.
func (u *Update) State(came bool, alike, own func(name string, x []float32)) {
	if u.wire == FP32 && !came {
		return
	}
	held := alike
	if len(u.slices[u.group.Rank()]) > 0 { // of Rows every rank holds its own parts of the factors
		held = own
	}
	for k, x := range u.held {
		held(fmt.Sprintf("exchange.held.%d", k), x)
	}
	for i, x := range u.sent {
		own(fmt.Sprintf("exchange.sent.%d", u.group.Rank()*u.own+i), x)
	}
	if u.wire == FP32 || len(u.sums) == 0 {
		return
	}
	own("exchange.sums.mine", u.sentMine)
	own("exchange.sums.theirs", u.theirs)
	own("exchange.sums.part", u.sentPart)
	alike("exchange.sums", u.sums)
}

// Came says that what State named holds what came: Stacks may be asked for.
func (u *Update) Came() { u.gathered = true }
