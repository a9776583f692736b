package collective

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// compressed is a group whose blocks travel as zstd frames. Blocks are then of different lengths; all of a call are padded to the
// longest of any rank, which the ranks tell one another first, in eight bytes.
type compressed struct {
	Group
	width   int // bytes of a number
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	planes  []byte   // a block, byte by byte of its numbers
	frame   []byte   // of it
	out, in []byte   // what travels: length of the frame in four bytes, frame, padding
	shared  []byte   // (ranks, most of a frame): in, where it is the node's
	came    []byte   // (ranks, block) of an AlltoallShared
	longest []uint64 // (1 + ranks): of this rank, of all
}

// Compressed is the group, its messages compressed without loss. Before it, the numbers of fp32 and bf16 are taken apart by byte:
// the bytes that hold sign and exponent are much alike, the others are noise. Factors of the built-in job become 0.87 as long in
// fp32, 0.70 in bf16, 0.99 in int8, 0.92 in int4. Alone nothing travels, and nothing is compressed.
func Compressed(g Group, w Wire) Group {
	if g.Size() == 1 {
		return g
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true), // numbers repeat nothing: what is gained is entropy
		zstd.WithEncoderCRC(false))
	if err != nil {
		panic("collective: zstd does not take its options")
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic("collective: zstd does not take its options")
	}
	width := map[Wire]int{FP32: 4, BF16: 2, Int8: 1, Int4: 1}[w]
	return &compressed{Group: g, width: width, encoder: encoder, decoder: decoder, longest: make([]uint64, 1+g.Size())}
}

const frameLen = 4 // bytes that hold the length of a frame

func (g *compressed) Allgather(dst, src []byte) error {
	stride, err := g.pack(src, 1)
	if err != nil {
		return err
	}
	g.in = room(g.in, g.Size()*g.most(len(src)))
	if err := g.Group.Allgather(g.in[:g.Size()*stride], g.out[:stride]); err != nil {
		return err
	}
	return g.unpack(dst, g.in, stride, 0, g.Size())
}

// AllgatherShared: each rank unpacks a part for its node.
func (g *compressed) AllgatherShared(dst, src []byte) error {
	if need := g.Size() * g.most(len(src)); len(g.shared) < need { // on all ranks in the same call
		memory, err := byteMemory(g.Group, need)
		if err != nil {
			return fmt.Errorf("collective: room for compressed messages: %w", err)
		}
		g.shared = memory
	}
	stride, err := g.pack(src, 1)
	if err != nil {
		return err
	}
	if err := g.Group.AllgatherShared(g.shared[:g.Size()*stride], g.out[:stride]); err != nil {
		return err
	}
	from, to := Part(g.Group, g.Size())
	if err := g.unpack(dst, g.shared, stride, from, to); err != nil {
		return err
	}
	return g.NodeBarrier()
}

func (g *compressed) Alltoall(dst, src []byte) error {
	stride, err := g.pack(src, g.Size())
	if err != nil {
		return err
	}
	g.in = room(g.in, g.Size()*g.most(len(src)/g.Size()))
	if err := g.Group.Alltoall(g.in[:g.Size()*stride], g.out[:g.Size()*stride]); err != nil {
		return err
	}
	return g.unpack(dst, g.in, stride, 0, g.Size())
}

// AlltoallShared: compressed, blocks go to all ranks alike.
func (g *compressed) AlltoallShared(comes, rows []byte) error {
	row := len(rows) / g.NodeSize()
	g.came = room(g.came, row)
	if err := g.Alltoall(g.came, rows[g.NodeRank()*row:][:row]); err != nil || len(comes) == 0 {
		return err
	}
	n := row / g.Size()
	for rank := range g.Size() {
		copy(comes[(rank*g.NodeSize()+g.NodeRank())*n:], g.came[rank*n:(rank+1)*n])
	}
	return nil
}

// most is the longest that a block of n bytes may become.
func (g *compressed) most(n int) int { return frameLen + g.encoder.MaxEncodedSize(n) }

// pack puts src, cut into equal blocks, into out, a block every stride bytes, and makes room for as many as come.
func (g *compressed) pack(src []byte, blocks int) (stride int, err error) {
	n := len(src) / blocks
	most := g.most(n)
	g.out, g.planes = room(g.out, blocks*most), room(g.planes, n)
	for i := range blocks {
		apart(g.planes, src[i*n:(i+1)*n], g.width)
		g.frame = g.encoder.EncodeAll(g.planes, g.frame[:0]) // which may want more room than the frame takes at last
		binary.LittleEndian.PutUint32(g.out[i*most:], uint32(len(g.frame)))
		copy(g.out[i*most+frameLen:(i+1)*most], g.frame)
		stride = max(stride, frameLen+len(g.frame))
	}
	mine, all := g.longest[:1], g.longest[1:]
	mine[0] = uint64(stride)
	if err := Allgather(g.Group, all, mine); err != nil {
		return 0, fmt.Errorf("collective: lengths of messages: %w", err)
	}
	for _, l := range all {
		stride = max(stride, int(l))
	}
	for i := 1; i < blocks; i++ { // moves down only, over what has been moved
		copy(g.out[i*stride:(i+1)*stride], g.out[i*most:(i+1)*most])
	}
	return stride, nil
}

// unpack puts the blocks of some ranks, which lie in src every stride bytes, into dst, where they lie one behind another.
func (g *compressed) unpack(dst, src []byte, stride, from, to int) error {
	n := len(dst) / g.Size()
	g.planes = room(g.planes, n)
	for k := from; k < to; k++ {
		packed := src[k*stride : (k+1)*stride]
		length := int(binary.LittleEndian.Uint32(packed))
		if length > stride-frameLen {
			return fmt.Errorf("collective: message of rank %d: %d bytes, of %d that came", k, length, stride-frameLen)
		}
		planes, err := g.decoder.DecodeAll(packed[frameLen:frameLen+length], g.planes[:0])
		if err != nil {
			return fmt.Errorf("collective: message of rank %d: %w", k, err)
		}
		if len(planes) != n {
			return fmt.Errorf("collective: message of rank %d: %d bytes, want %d", k, len(planes), n)
		}
		together(dst[k*n:(k+1)*n], planes, g.width)
	}
	return nil
}

// apart puts the first bytes of all numbers of that many bytes, then their second ones and so on, and at last what is left.
func apart(dst, src []byte, width int) {
	n := len(src) / width
	for p := range width {
		plane := dst[p*n : (p+1)*n]
		for i := range plane {
			plane[i] = src[i*width+p]
		}
	}
	copy(dst[n*width:], src[n*width:])
}

// together undoes apart.
func together(dst, src []byte, width int) {
	n := len(src) / width
	for p := range width {
		for i, b := range src[p*n : (p+1)*n] {
			dst[i*width+p] = b
		}
	}
	copy(dst[n*width:], src[n*width:])
}

// room is a buffer of that length, the one given if it is large enough.
func room[T byte | float32](buffer []T, n int) []T {
	if cap(buffer) < n {
		return make([]T, n)
	}
	return buffer[:n]
}
