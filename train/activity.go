package train

import (
	"fmt"
	"sync/atomic"
)

// Activity is what a rank is doing; it may be read from another goroutine.
type Activity struct {
	moves atomic.Uint64
	now   atomic.Uint64 // work, then the steps done in the lower 56 bits
}

// work is what a rank may be doing. From merging on they wait for other ranks.
type work uint64

const (
	starting work = iota
	reading
	training
	merging
	agreeing
	evaluating
	ending
)

func (w work) String() string {
	return [...]string{"starting", "waiting for images", "training", "merging", "agreeing on checkpoints", "evaluating", "ending"}[w]
}

const stepBits = 56

// begin sets what the rank does from now on.
func (a *Activity) begin(w work, steps int) {
	a.now.Store(uint64(w)<<stepBits | uint64(steps))
	a.moves.Add(1)
}

// Moves grows with every begin.
func (a *Activity) Moves() uint64 { return a.moves.Load() }

// Code is what the rank is doing as one number, larger for later steps.
func (a *Activity) Code() uint64 {
	now := a.now.Load()
	return now&(1<<stepBits-1)<<8 | now>>stepBits
}

// Describe is a code in words.
func Describe(code uint64) string {
	return fmt.Sprintf("%v after step %d", work(code&0xff), code>>8)
}
