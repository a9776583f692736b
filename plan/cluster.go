package plan

import (
	"math/bits"

	"lte/collective"
)

// Link carries messages of ranks: between nodes, or within one.
type Link struct {
	Latency   float64 // seconds from sender to receiver
	Bandwidth float64 // bytes per second that all ranks of a node together send over it; as many come in meanwhile
}

// Library is how an MPI library makes nonblocking collectives of messages.
type Library struct {
	Name   string
	direct bool // every rank sends to every other at once; else in steps, by MPICH's tables
	// A message longer than eager bytes waits for the receiver: that many latencies until it has come, over TCP.
	eager     float64
	handshake float64
}

// The libraries. MPICH's steps and limits are those of the tables in its library (4.0.2: Iallgather and Ialltoall within a
// communicator); its handshake is UCX's over TCP: request, reply, data, acknowledged, and the notice that ends it. Open MPI's is
// libnbc's (4.1.4) over its own TCP.
var (
	MPICH   = Library{Name: "mpich", eager: 8 << 10, handshake: 6}
	OpenMPI = Library{Name: "openmpi", direct: true, eager: 64 << 10, handshake: 3}
)

// MPICH's limits, in bytes.
const (
	doublingBelow = 512 << 10 // of all that is gathered, on 2ⁱ ranks; from there on a ring
	bruckBelow    = 80 << 10  // on another number of ranks
	bruckUpTo     = 2 << 10   // of a block of an Alltoall of 8 ranks or more
	atOnceUpTo    = 32 << 10  // of a block; from there on pair after pair
	throttle      = 32        // messages at once
)

// Package mpi's limits, in bytes of all that is gathered.
const (
	board    = 1 << 20   // up to which ranks of a node meet in memory, also where the result is not for it
	swapFrom = 512 << 10 // from which more than two leaders exchange it by pairs
)

// payload is the part of a link between nodes that is not TCP/IP's and Ethernet's own (0.95 in frames of 1500 bytes), or lost
// between one message and the next.
const payload = 0.9

// MaxRanks is how many ranks a plan is of at most, and how many of them are on a node.
const MaxRanks = 1 << 20

// Cluster is where a run takes place: ranks 0 to PerNode−1 are on the first node, and so on.
type Cluster struct {
	Ranks, PerNode int
	Between        Link // the link of a node, shared by its ranks
	Within         Link
	Library        Library
	Oversubscribed bool // a node has fewer cores than ranks: every collective begins with a barrier
}

func (c Cluster) perNode() int { return min(c.PerNode, c.Ranks) }

// step is what messages of that many bytes take that all ranks send at once, count of every rank, where outside of them all
// leave a node.
func (c Cluster) step(bytes float64, count, outside int) float64 {
	inside := c.perNode()*count - outside
	seconds := 0.0
	if outside > 0 {
		seconds = c.trips(bytes)*c.Between.Latency + bytes*float64(outside)/(payload*c.Between.Bandwidth)
	}
	if inside > 0 {
		seconds = max(seconds, c.Within.Latency+bytes*float64(inside)/c.Within.Bandwidth)
	}
	return seconds
}

// trips is how many latencies a message takes between nodes.
func (c Cluster) trips(bytes float64) float64 {
	if bytes > c.Library.eager {
		return c.Library.handshake
	}
	return 1
}

// shift is how many ranks of a node send outside when every rank sends to the one that many places on.
func (c Cluster) shift(by int) int {
	p, within := c.perNode(), 0
	within += max(0, p-by)           // later ones of the node
	within += max(0, p-(c.Ranks-by)) // past the last rank, the first ones
	return p - within
}

// flip is shift for the partner rank XOR by.
func (c Cluster) flip(by int) (outside int) {
	p := c.perNode()
	outside = p
	for bit := 0; p>>bit > 0; bit++ {
		// Where p has a 1, the ranks below p that have a 0 there and agree with p above it are 2^bit in a row, and so are their
		// partners.
		if p>>bit&1 == 1 {
			partners := (p>>bit ^ 1 ^ by>>bit) << bit
			outside -= min(max(0, p-partners), 1<<bit)
		}
	}
	return outside
}

// everywhere is how many messages leave a node when each of its ranks sends one to every rank.
func (c Cluster) everywhere() int { return c.perNode() * (c.Ranks - c.perNode()) }

func (c Cluster) power() bool { return c.Ranks&(c.Ranks-1) == 0 }

// node is one of the cluster's nodes by itself, and leaders are the first ranks of all of them.
func (c Cluster) node() Cluster {
	p := c.perNode()
	return Cluster{Ranks: p, PerNode: p, Within: c.Within, Library: c.Library}
}

func (c Cluster) leaders() Cluster {
	p := c.perNode()
	return Cluster{Ranks: (c.Ranks + p - 1) / p, PerNode: 1, Between: c.Between, Within: c.Within, Library: c.Library, Oversubscribed: c.Oversubscribed}
}

// shared reports whether ranks of a node share memory, through which barriers and small messages go.
func (c Cluster) shared() bool { return c.perNode() > 1 }

// Barrier is the time of a barrier that all ranks enter at once: a message in every of ⌈log₂ P⌉ steps, among the first ranks of all
// nodes between two barriers of every node.
func (c Cluster) Barrier() (seconds float64) {
	if c.shared() && c.Ranks > c.perNode() {
		return 2*c.node().Barrier() + c.leaders().Barrier()
	}
	for by := 1; by < c.Ranks; by *= 2 {
		seconds += c.step(0, 1, c.shift(by))
	}
	return seconds
}

// waiting is what a oversubscribed node's collectives begin with.
func (c Cluster) waiting() float64 {
	if c.Oversubscribed {
		return c.Barrier()
	}
	return 0
}

// Allgather is the time of an Allgather to which every rank contributes block bytes.
func (c Cluster) Allgather(block float64) float64 {
	if c.Ranks == 1 {
		return 0
	}
	seconds, all := c.waiting(), block*float64(c.Ranks)
	switch {
	case c.shared() && all <= board:
		return c.AllgatherShared(block) + all*float64(c.perNode())/c.Within.Bandwidth
	case c.Library.direct:
		return seconds + c.step(block, c.Ranks-1, c.everywhere())
	case c.power() && all < doublingBelow: // by recursive doubling
		for by := 1; by < c.Ranks; by *= 2 {
			seconds += c.step(block*float64(by), 1, c.flip(by))
		}
		return seconds
	case !c.power() && all < bruckBelow:
		for by := 1; by < c.Ranks; by *= 2 {
			seconds += c.step(block*float64(min(by, c.Ranks-by)), 1, c.shift(by))
		}
		return seconds
	}
	return seconds + float64(c.Ranks-1)*c.step(block, 1, c.shift(1)) // around a ring: one rank of a node sends outside
}

// swaps is the time in which every leader exchanges that many bytes with one other after another.
func (c Cluster) swaps(bytes float64) float64 {
	leaders := c.leaders()
	return leaders.waiting() + float64(leaders.Ranks-1)*leaders.step(bytes, 1, 1)
}

// AllgatherShared is the time of an Allgather into memory that the ranks of a node share: each writes its block there, and
// between two barriers the first of every node exchanges all of them.
func (c Cluster) AllgatherShared(block float64) float64 {
	if !c.shared() || c.Ranks == 1 {
		return c.Allgather(block)
	}
	p, node, leaders := float64(c.perNode()), c.node(), c.leaders()
	seconds := 2*node.Barrier() + block*p/c.Within.Bandwidth
	switch {
	case leaders.Ranks == 1:
		return seconds
	case leaders.Ranks > 2 && block*float64(c.Ranks) < swapFrom:
		seconds += leaders.Allgather(block * p)
	default:
		seconds += c.swaps(block * p)
	}
	return seconds + node.Barrier()
}

// AlltoallShared is the time of an Alltoall in memory that the ranks of a node share: each writes there what it sends, and
// reads what the others wrote; between two barriers the first of every node exchanges the blocks of all with one node after another.
func (c Cluster) AlltoallShared(block float64) float64 {
	if !c.shared() || c.Ranks == 1 {
		return c.Alltoall(block)
	}
	p, node := float64(c.perNode()), c.node()
	seconds := node.Barrier() + block*p*(p-1)/c.Within.Bandwidth
	if c.leaders().Ranks > 1 {
		seconds += c.swaps(block*p*p) + node.Barrier()
	}
	return seconds
}

// Alltoall is the time of an Alltoall in which every rank sends block bytes to every other.
func (c Cluster) Alltoall(block float64) float64 {
	if c.Ranks == 1 {
		return 0
	}
	seconds := c.waiting()
	switch {
	case c.Library.direct:
		return seconds + c.step(block, c.Ranks-1, c.everywhere())
	case c.Ranks >= 8 && block <= bruckUpTo: // every block goes the distance to its rank in powers of two
		for by := 1; by < c.Ranks; by *= 2 {
			blocks := 0
			for at := by; at < c.Ranks; at += 2 * by {
				blocks += min(by, c.Ranks-at)
			}
			seconds += c.step(block*float64(blocks), 1, c.shift(by))
		}
		return seconds
	case block <= atOnceUpTo: // the next ones when those before have come
		link := c.Within.Latency
		if c.Ranks > c.perNode() {
			link = c.trips(block) * c.Between.Latency
		}
		return seconds + c.step(block, c.Ranks-1, c.everywhere()) + float64((c.Ranks-2)/throttle)*link
	}
	for by := 1; by < c.Ranks; by++ {
		outside := c.shift(by)
		if c.power() {
			outside = c.flip(by)
		}
		seconds += c.step(block, 1, outside)
	}
	return seconds
}

// probed is what a rank sends in the messages by which collective.Measure judges a network.
const probed = 1 << 20

// Network is what collective.Measure would find.
func (c Cluster) Network() (n collective.Network) {
	if c.Ranks == 1 {
		return n
	}
	block := max(1, float64(probed/(c.Ranks-1)))
	n.Latency = c.Allgather(8)
	n.Allgather = block * float64(c.Ranks-1) / max(1e-9, c.AllgatherShared(block)-n.Latency)
	n.Alltoall = block * float64(c.Ranks-1) / max(1e-9, c.AlltoallShared(block)-n.Latency)
	return n
}

// Within is the link within a node on which that many ranks, all of one node, found that network.
func Within(n collective.Network, ranks int) Link {
	steps := max(1, bits.Len(uint(ranks-1))) // of a small Allgather
	return Link{Latency: n.Latency / float64(steps),
		Bandwidth: float64(ranks) * min(n.Allgather/max(1, float64(ranks-1)), n.Alltoall)}
}
