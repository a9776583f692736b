package collective

// Purpose is what bytes are sent for.
type Purpose int

// The purposes, in the order in which they are reported.
const (
	Merging    Purpose = iota // what heads or copies of the weights exchange for a merge
	Gradients                 // averaged every step
	Evaluation                // sums over the test split, and measurements
	Control                   // agreements, consistency checks, start and end
	purposes
)

// Purposes lists them.
func Purposes() (all []Purpose) {
	for p := range purposes {
		all = append(all, p)
	}
	return all
}

func (p Purpose) String() string {
	return [purposes]string{"merge", "gradients", "evaluation", "control"}[p]
}

// Traffic is what a rank has sent and received, in bytes of messages: its part times the other ranks in an allgather, all
// blocks but its own in an alltoall, nothing in a barrier. So it counts what is said, wherever ranks are: messages to ranks of the
// same node cross no network. What the network carries beyond that depends on the algorithm that the MPI library chooses, and on
// its headers.
type Traffic struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Meter counts the traffic of a group by purpose.
type Meter struct {
	group  Group
	counts [purposes]Traffic
}

// NewMeter makes a meter that has counted nothing.
func NewMeter(g Group) *Meter { return &Meter{group: g} }

// For is the group, its traffic counted as that purpose's.
func (m *Meter) For(p Purpose) Group { return metered{m.group, &m.counts[p]} }

// Traffic is what was counted as that purpose's.
func (m *Meter) Traffic(p Purpose) Traffic { return m.counts[p] }

// Counted is the count of that purpose, to be restored when a run is resumed.
func (m *Meter) Counted(p Purpose) *Traffic { return &m.counts[p] }

// Rank is this rank's number.
func (m *Meter) Rank() int { return m.group.Rank() }

// Size is the number of ranks.
func (m *Meter) Size() int { return m.group.Size() }

// Sent is what was sent for all purposes.
func (m *Meter) Sent() (bytes int64) {
	for _, t := range m.counts {
		bytes += t.Sent
	}
	return bytes
}

// metered is a group that counts; what failed counts too, as some of it may have travelled.
type metered struct {
	Group
	count *Traffic
}

func (g metered) Allgather(dst, src []byte) error {
	g.add(len(src), g.Size()*len(src))
	return g.Group.Allgather(dst, src)
}

func (g metered) AllgatherShared(dst, src []byte) error {
	g.add(len(src), g.Size()*len(src))
	return g.Group.AllgatherShared(dst, src)
}

func (g metered) Alltoall(dst, src []byte) error {
	block := len(src) / g.Size()
	g.add(block, len(dst))
	return g.Group.Alltoall(dst, src)
}

func (g metered) AlltoallShared(comes, rows []byte) error {
	row := len(rows) / g.NodeSize()
	g.add(row/g.Size(), row)
	return g.Group.AlltoallShared(comes, rows)
}

// add counts a block for every other rank, and all of what comes but this rank's own block.
func (g metered) add(block, comes int) {
	g.count.Sent += int64(block) * int64(g.Size()-1)
	g.count.Received += int64(comes - block)
}
