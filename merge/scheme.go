package merge

// scheme says what of the factors, and of the updates formed of them, travels in which message, if layers travel by these transports,
// one each.
type scheme struct {
	layers     []Factor
	length     int // of one head's flat factors
	own        int // heads of a rank
	ranks      int
	wire       Wire
	transports []Transport

	at       []int  // where each layer's sum lies in the flat sums: those of Dense come first
	dense    int    // elements of the sums of Dense
	total    int    // of all sums
	summed   []span // of a head's factors: those of Dense, of which only the sum travels
	received []span // of a head's factors: what all ranks receive
	columns  int    // elements of the largest sum of which ranks form columns
}

func newScheme(layers []Factor, length, own, ranks int, w Wire, transports []Transport) *scheme {
	if len(transports) != len(layers) {
		panic("merge: not one transport for each layer")
	}
	s := &scheme{layers: layers, length: length, own: own, ranks: ranks, wire: w, transports: transports, at: make([]int, len(layers))}
	for i, f := range layers {
		if transports[i] == Dense {
			s.at[i], s.dense = s.dense, s.dense+f.M*f.N
			s.summed = append(s.summed, f.spanA(), f.spanB())
		}
	}
	divided := append([]span(nil), s.summed...) // of a head's factors: what not all ranks receive
	s.total = s.dense
	for i, f := range layers {
		if transports[i] != Rows {
			continue
		}
		s.at[i], s.total = s.total, s.total+f.M*f.N
		if f.byColumns() {
			divided, s.columns = append(divided, f.spanA()), max(s.columns, f.M*f.N)
		} else {
			divided = append(divided, f.spanB())
		}
	}
	s.received = without(length, divided)
	return s
}

// hasEstimates reports whether something of a head reaches other ranks: not where only sums travel.
func (s *scheme) hasEstimates() bool { return len(s.received) > 0 || s.total > s.dense }

// aliasesRecv reports whether the estimates are the receive buffer: fp32, with all factors gathered.
func (s *scheme) aliasesRecv() bool {
	return s.wire == FP32 && len(s.received) == 1 && s.received[0] == span{0, s.length}
}

// block is the part of the flat sums of Dense that a rank adds up.
func (s *scheme) block(rank int) span { return share(s.dense, rank, s.ranks) }

// slices are what of a head's factors is sent to one rank only: what its parts of Rows are formed of.
func (s *scheme) slices(rank int) (all []span) {
	for i, f := range s.layers {
		if s.transports[i] == Rows {
			all = append(all, f.slices(f.part(rank, s.ranks))...)
		}
	}
	return all
}

// sliceBytes is the length of the message of slices(rank), which has many spans where columns are divided.
func (s *scheme) sliceBytes(rank int) (n int) {
	for i, f := range s.layers {
		if s.transports[i] != Rows {
			continue
		}
		if rows, columns := f.part(rank, s.ranks); f.byColumns() {
			n += f.R * s.wire.Bytes(columns.length())
		} else {
			n += s.wire.Bytes(rows.length() * f.R)
		}
	}
	return n
}

// parts are what of the flat sums a rank adds up, then forms. A layer's parts follow one another in order of rank.
func (s *scheme) parts(rank int) []span {
	all := []span{s.block(rank)}
	for i, f := range s.layers {
		if s.transports[i] != Rows {
			continue
		}
		short := min(f.M, f.N)
		rows := share(max(f.M, f.N), rank, s.ranks)
		all = append(all, span{s.at[i] + rows.from*short, s.at[i] + rows.to*short})
	}
	return all
}

// Message is one collective call of a merge.
type Message struct {
	Alltoall bool // else Allgather
	Block    int  // bytes that a rank contributes to an Allgather, or sends to each rank in an Alltoall
}

// messages are the calls of a merge, in order. Blocks are those of the first rank: no rank has more to send.
func (s *scheme) messages() []Message {
	all := []Message{{Block: s.own*s.wire.bytesOf(s.received) + StatusBytes}}
	if s.total > 0 {
		all = append(all,
			Message{Alltoall: true, Block: s.own*s.sliceBytes(0) + s.wire.Bytes(s.block(0).length())},
			Message{Block: s.wire.bytesOf(s.parts(0))})
	}
	return all
}

// Messages returns what each of so many ranks sends in a merge of layers whose factors lie in flat slices of that length, own heads on
// each rank, in that wire format and by these transports, one for each layer. Exchange and Update send exactly that, unless it is
// compressed.
func Messages(layers []Factor, length, own, ranks int, w Wire, transports []Transport) []Message {
	return newScheme(layers, length, own, ranks, w, transports).messages()
}

// Sent is the bytes that a rank sends to the other ranks.
func (m Message) Sent(ranks int) int64 { return int64(m.Block) * int64(ranks-1) }
