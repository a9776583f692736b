package collective

import "fmt"

// Update brings to all ranks what a merge adds to W, of every layer Σ_k s·B_kA_k over all heads, as the layer's transport says:
//
//	Allgather   Factors: A and B of every head. Rows: of every head A, which all ranks need
//	Alltoall    Dense: block i of a rank's own sum to rank i. Rows: to rank i the rows of B that its rows of the sum are made of
//	            a rank adds up its blocks, in order of rank in float64, and forms its rows
//	Allgather   Dense and Rows: these parts of the sums
//
// Layers travel together; calls that none of them needs are not made. All that travels does so as Wire says: there is an x̂ of
// the factors, of each rank's own sums, and of the parts. Only with Factors the bits are those of any number of ranks that carry the
// same heads: the others add up, and cut what travels, by rank.
type Update struct {
	*Exchange
	transports []Transport
	multiply   Product
	at         []int    // where each layer's sum lies in sums; those of Dense come first
	summed     []span   // of a head's factors: those of Dense, of which only the sum travels
	slices     [][]span // (ranks) of a head's factors: what goes to that rank alone
	blocks     []span   // (ranks) of the sums of Dense: what that rank adds up
	parts      [][]span // (ranks) of sums: what that rank adds up or forms
	inPart     []span   // of part: this rank's parts, one behind another

	heads          [][]float32 // (own) the factors of this rank's heads, as they are
	mine, sentMine []float32   // the sums of Dense over them, and x̂
	theirs         []float32   // (ranks, block): x̂ of this rank's block of every rank's
	from           [][]float32 // (ranks): theirs, rank by rank
	part, sentPart []float32   // this rank's parts, and x̂
	sums           []float32   // x̂ of all parts, the node's
	whole          []float32   // a sum of which ranks form columns, put together

	spread         *blocks // the messages of the Alltoall
	tells, gathers []byte  // (message) and (ranks, message) of the second Allgather; the latter is the node's
}

// Product sets dst (rows, columns) to s·b·a, with b (rows, inner) and a (inner, columns), for that layer.
type Product func(dst []float32, layer, rows, columns, inner int, b, a []float32)

// NewUpdate makes an Update of layers that travel as transports say, one each; for the rest see NewExchange.
func NewUpdate(g Group, layers []Factor, length, own int, w Wire, transports []Transport, multiply Product) (*Update, error) {
	if len(transports) != len(layers) {
		panic("collective: not one transport for each layer")
	}
	ranks, me := g.Size(), g.Rank()
	u := &Update{transports: transports, multiply: multiply, at: make([]int, len(layers)), slices: make([][]span, ranks),
		parts: make([][]span, ranks), heads: make([][]float32, own)}
	dense, total, whole := 0, 0, 0
	var elsewhere []span // of a head's factors: what not all ranks receive
	for i, f := range layers {
		if transports[i] == Dense {
			u.at[i], dense = dense, dense+f.M*f.N
			u.summed = append(u.summed, f.spanA(), f.spanB())
		}
	}
	elsewhere = append(elsewhere, u.summed...)
	for rank := range ranks {
		u.blocks = append(u.blocks, share(dense, rank, ranks))
		u.parts[rank] = append(u.parts[rank], u.blocks[rank])
	}
	total = dense
	for i, f := range layers {
		if transports[i] != Rows {
			continue
		}
		u.at[i] = total
		for rank := range ranks {
			rows, columns := f.part(rank, ranks)
			n := rows.length() * columns.length()
			u.parts[rank] = append(u.parts[rank], span{total, total + n})
			u.slices[rank] = append(u.slices[rank], f.slices(rows, columns)...)
			total += n
		}
		if f.byColumns() {
			elsewhere, whole = append(elsewhere, f.spanA()), max(whole, f.M*f.N)
		} else {
			elsewhere = append(elsewhere, f.spanB())
		}
	}
	var err error
	if u.Exchange, err = newExchange(g, layers, length, own, w, without(length, elsewhere)); err != nil {
		return nil, err
	}
	if len(u.spans) > 0 || len(u.slices[0]) > 0 { // else nothing of a head comes to other ranks
		if err := u.hold(); err != nil {
			return nil, err
		}
	}
	room := 0
	for _, s := range u.parts[me] {
		u.inPart = append(u.inPart, span{room, room + s.length()})
		room += s.length()
	}
	u.mine, u.part, u.whole = make([]float32, dense), make([]float32, room), make([]float32, whole)
	n := u.blocks[me].length()
	u.theirs = make([]float32, ranks*n)
	for rank := range ranks {
		u.from = append(u.from, u.theirs[rank*n:(rank+1)*n])
	}
	if w != FP32 {
		u.sentMine, u.sentPart = make([]float32, dense), make([]float32, room)
	}
	// No rank has more than the first.
	u.tells = make([]byte, w.bytesOf(u.parts[0]))
	if u.gathers, err = byteMemory(g, ranks*len(u.tells)); err == nil {
		u.sums, err = Memory(g, total)
	}
	if err == nil {
		u.spread, err = newBlocks(g, own*w.bytesOf(u.slices[0])+w.Bytes(u.blocks[0].length()))
	}
	if err != nil {
		return nil, fmt.Errorf("collective: room for the updates: %w", err)
	}
	return u, nil
}

func (f Factor) spanA() span { return span{f.A, f.A + f.R*f.N} }
func (f Factor) spanB() span { return span{f.B, f.B + f.M*f.R} }

// slices are the rows of B that those rows of the update are made of, where ranks form rows, or the columns of A.
func (f Factor) slices(rows, columns span) (all []span) {
	if !f.byColumns() {
		return []span{{f.B + rows.from*f.R, f.B + rows.to*f.R}}
	}
	for p := range f.R {
		row := f.A + p*f.N
		all = append(all, span{row + columns.from, row + columns.to})
	}
	return all
}

// Gather sends this rank's factors, (own, length), and status to all ranks, receives theirs, and has the sums formed. It returns
// the statuses in order of rank, this rank's own as the others see it, valid until the next Gather. What W moves by is for Sum
// where that has it, else for Stacks.
func (u *Update) Gather(factors []float32, status Status) ([]Status, error) {
	statuses, err := u.Exchange.Gather(factors, status)
	if err != nil || len(u.sums) == 0 {
		return statuses, err
	}
	for i := range u.heads {
		u.heads[i] = factors[i*u.length : (i+1)*u.length]
		for _, s := range u.summed {
			copy(u.sent[i][s.from:s.to], u.heads[i][s.from:s.to])
		}
	}
	if err := u.scatter(); err != nil {
		return nil, err
	}
	u.form()
	return statuses, u.collect()
}

// scatter forms the sums of Dense over this rank's heads and sends every rank its block of them, and its slices of Rows.
func (u *Update) scatter() error {
	for i, f := range u.layers {
		if u.transports[i] == Dense {
			rows, columns := span{0, f.M}, span{0, f.N}
			a, b := u.stack(f, rows, columns, u.heads)
			u.multiply(u.mine[u.at[i]:u.at[i]+f.M*f.N], i, f.M, f.N, u.own*f.R, b, a)
		}
	}
	ranks, me := u.group.Size(), u.group.Rank()
	goes := u.spread.goes()
	for rank := range ranks {
		rest := goes[rank*u.spread.size:][:u.spread.size]
		for i, head := range u.heads {
			rest = u.wire.encodeSpans(rest, u.sent[i], head, u.slices[rank])
		}
		u.wire.encodeSpans(rest, u.sentMine, u.mine, u.blocks[rank:rank+1])
	}
	if err := u.spread.exchange(); err != nil {
		return fmt.Errorf("collective: sending parts of the update: %w", err)
	}
	for rank, theirs := range u.from {
		rest := u.spread.came(rank)
		if len(u.slices[me]) > 0 {
			for _, head := range u.held[rank*u.own : (rank+1)*u.own] {
				rest = u.wire.decodeSpans(head, rest, u.slices[me])
			}
		}
		u.wire.decodeSpans(theirs, rest, []span{{0, len(theirs)}})
	}
	return nil
}

// form makes this rank's parts of the sums.
func (u *Update) form() {
	ranks, me := u.group.Size(), u.group.Rank()
	addUp(u.part[:u.blocks[me].length()], u.from, 1)
	at := u.inPart[1:]
	for i, f := range u.layers {
		if u.transports[i] != Rows {
			continue
		}
		rows, columns := f.part(me, ranks)
		if dst := u.part[at[0].from:at[0].to]; len(dst) > 0 {
			a, b := u.stack(f, rows, columns, u.held)
			u.multiply(dst, i, rows.length(), columns.length(), len(u.held)*f.R, b, a)
		}
		at = at[1:]
	}
}

// collect hands this rank's parts on and receives the others'.
func (u *Update) collect() error {
	u.wire.encodeSpans(u.tells, u.sentPart, u.part, u.inPart)
	if err := u.group.AllgatherShared(u.gathers, u.tells); err != nil {
		return fmt.Errorf("collective: gathering parts of the update: %w", err)
	}
	for rank, to := Part(u.group, len(u.parts)); rank < to; rank++ {
		u.wire.decodeSpans(u.sums, u.gathers[rank*len(u.tells):(rank+1)*len(u.tells)], u.parts[rank])
	}
	return u.group.NodeBarrier()
}

// Sum is Σ_k s·B_kA_k, (m, n), as all ranks hold it, the same bits everywhere; nil for a layer of Factors. It is scratch: valid
// until the next call of Sum.
func (u *Update) Sum(layer int) []float32 {
	f, t := u.layers[layer], u.transports[layer]
	if t == Factors {
		return nil
	}
	sum := u.sums[u.at[layer] : u.at[layer]+f.M*f.N]
	if t == Dense || !f.byColumns() {
		return sum
	}
	for rank := range u.group.Size() { // (m, its columns) each
		_, columns := f.part(rank, u.group.Size())
		n := columns.length()
		for i := range f.M {
			copy(u.whole[i*f.N+columns.from:i*f.N+columns.to], sum[i*n:(i+1)*n])
		}
		sum = sum[f.M*n:]
	}
	return u.whole[:f.M*f.N]
}

// Renew says that W has taken up the sums for good, as with resets: the next ones begin at 0. What of these was not sent is still
// owed: W has it with the next.
func (u *Update) Renew() error {
	if u.wire == FP32 || len(u.sums) == 0 { // nothing is owed
		return nil
	}
	if err := u.group.NodeBarrier(); err != nil { // all have read the sums
		return err
	}
	for i, x := range u.mine {
		u.sentMine[i] -= x
	}
	for i, x := range u.part {
		u.sentPart[i] -= x
	}
	clear(u.theirs)
	from, to := Part(u.group, len(u.sums))
	clear(u.sums[from:to])
	return nil // nobody reads them before the next Gather
}
