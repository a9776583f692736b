package collective

import (
	"fmt"
	"time"
)

// Network is the speed of a group's collectives as one of its ranks sees it: waiting for others and sharing a node's link included.
type Network struct {
	Latency   float64 `json:"latency"`   // seconds of an Allgather that carries next to nothing
	Allgather float64 `json:"allgather"` // bytes per second that a rank sends in an AllgatherShared of about a megabyte
	Alltoall  float64 `json:"alltoall"`  // likewise, in an AlltoallShared, with what it takes to write and to read its messages
}

// How long Measure measures, and with what: a rank sends probeFirst bytes in the first message and four times as much in every
// further one, up to probeLast, while the next one is predicted to end within probeTime.
const (
	probeRounds  = 16 // of Latency
	probeLatency = 100 * time.Millisecond
	probeTime    = 250 * time.Millisecond
	probeFirst   = 1 << 12
	probeLast    = 1 << 20
)

// Measure measures the network with the group's own collectives, in well under a second: on a slow link with shorter messages. All
// ranks return the same figures, made of the slowest rank's times of every round, so that what is chosen by them is the same
// everywhere. A group of one has no network: its figures are 0.
func Measure(g Group) (Network, error) { return measureBy(g, time.Now) }

// measureBy is Measure by another clock.
func measureBy(g Group, now func() time.Time) (n Network, err error) {
	if g.Size() == 1 {
		return n, nil
	}
	p := probe{group: g, now: now, words: make([]uint64, g.Size())}
	n.Latency = p.latency()
	shared, err := g.NodeMemory(g.Size() * probeBlock(probeLast, g.Size()))
	if err != nil {
		return n, fmt.Errorf("collective: buffers to measure the network: %w", err)
	}
	n.Allgather = p.bandwidth(n.Latency, func(dst, src []byte) error {
		return g.AllgatherShared(shared[:len(dst)], src[:len(src)/g.Size()])
	})
	blocks, err := NewBlocks(g, probeBlock(probeLast, g.Size()))
	if err != nil {
		return n, fmt.Errorf("collective: buffers to measure the network: %w", err)
	}
	n.Alltoall = p.bandwidth(n.Latency, func(dst, src []byte) error {
		b := blocks.shorter(len(src) / g.Size())
		copy(b.Send(), src)
		if err := b.Exchange(); err != nil {
			return err
		}
		for rank := range g.Size() {
			copy(dst[rank*b.size:], b.Received(rank))
		}
		return nil
	})
	if p.err != nil {
		return Network{}, fmt.Errorf("collective: measuring the network: %w", p.err)
	}
	return n, nil
}

// probeBlock is what a rank sends to each other one, to send so many bytes.
func probeBlock(bytes, ranks int) int { return max(1, bytes/(ranks-1)) }

// probe times collectives. Ranks decide to continue by times that all of them have, so that all decide the same.
type probe struct {
	group Group
	now   func() time.Time
	words []uint64 // (ranks)
	err   error    // the first; nothing is sent after it

	dst, src []byte // (ranks, block)
}

// slowest returns the longest of all ranks' times, in seconds.
func (p *probe) slowest(d time.Duration) (seconds float64) {
	if p.err == nil {
		p.err = Allgather(p.group, p.words, []uint64{uint64(max(0, d))})
	}
	for _, w := range p.words {
		seconds = max(seconds, time.Duration(w).Seconds())
	}
	return seconds
}

// latency is the mean of a chain of small collectives: ranks that leave one at different times make up for it in the next.
func (p *probe) latency() float64 {
	p.slowest(0) // connections are made by the first message
	began := p.now()
	seconds, rounds := 0.0, 0
	for rounds < probeRounds && seconds < probeLatency.Seconds() && p.err == nil {
		rounds++
		seconds = p.slowest(p.now().Sub(began))
	}
	// The last round's time is what its message said: that of the rounds before it.
	return seconds / float64(max(1, rounds-1))
}

// bandwidth is bytes that a rank sends a second beyond the latency, in the largest message that there was time for, the faster of
// two where there was time for that.
func (p *probe) bandwidth(latency float64, send func(dst, src []byte) error) float64 {
	size, spent, seconds, sent := p.group.Size(), 0.0, 0.0, 0
	for bytes := probeFirst; bytes <= probeLast && p.err == nil; bytes *= 4 {
		next := latency + 4*max(0, seconds-latency)
		if spent+next > probeTime.Seconds() && sent > 0 {
			break
		}
		block := probeBlock(bytes, size)
		p.src, p.dst, sent = make([]byte, size*block), make([]byte, size*block), (size-1)*block
		seconds = p.time(send)
		spent += seconds
	}
	if spent+seconds < probeTime.Seconds() {
		seconds = min(seconds, p.time(send))
	}
	// A round within the noise of the latency is not taken for infinitely fast.
	return float64(sent) / max(seconds-latency, seconds/8, 1e-9)
}

// time is the slowest rank's time of a round.
func (p *probe) time(send func(dst, src []byte) error) float64 {
	began := p.now()
	if p.err == nil {
		p.err = send(p.dst, p.src)
	}
	return p.slowest(p.now().Sub(began))
}
