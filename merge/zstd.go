package merge

import (
	"encoding/binary"
	"fmt"

	"lte/collective"

	"github.com/klauspost/compress/zstd"
)

// compressed is a group whose blocks travel as zstd frames. Frames differ in length: in every call all are padded to the longest of any
// rank, which the ranks first tell one another in eight bytes.
type compressed struct {
	collective.Group
	width      int // bytes of an element
	encoder    *zstd.Encoder
	decoder    *zstd.Decoder
	planes     []byte   // a block, split into byte planes
	frame      []byte   // the block compressed
	send, recv []byte   // messages: length of the frame in four bytes, frame, padding
	shared     []byte   // (ranks, longest message): recv in the node's memory
	blocks     []byte   // (ranks, block): what AlltoallShared receives
	longest    []uint64 // (1 + ranks): of this rank, of all
}

// Compressed is the group, the messages of a merge compressed without loss: those of Alltoall and of shared memory. First the elements of fp32 and bf16 are split into byte planes: the
// bytes with sign and exponent are similar, the others are noise. Factors of the built-in job shrink to 0.87 of their length in fp32,
// 0.70 in bf16, 0.99 in int8, 0.92 in int4. A group of one sends nothing, and compresses nothing.
func Compressed(g collective.Group, w Wire) collective.Group {
	if g.Size() == 1 {
		return g
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true), // factors have no repetitions: only entropy coding helps
		zstd.WithEncoderCRC(false))
	if err != nil {
		panic("merge: zstd does not take its options")
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic("merge: zstd does not take its options")
	}
	return &compressed{Group: g, width: w.width(), encoder: encoder, decoder: decoder, longest: make([]uint64, 1+g.Size())}
}

const frameLen = 4 // bytes that hold the length of a frame

// AllgatherShared: each rank unpacks its part for the node.
func (g *compressed) AllgatherShared(dst, src []byte) error {
	if need := g.Size() * g.longestMessage(len(src)); len(g.shared) < need { // on all ranks in the same call
		memory, err := collective.AllocatorOf(g.Group).Shared(need)
		if err != nil {
			return fmt.Errorf("merge: receive buffer for compressed messages: %w", err)
		}
		g.shared = memory
	}
	stride, err := g.pack(src, 1)
	if err != nil {
		return err
	}
	if err := g.Group.AllgatherShared(g.shared[:g.Size()*stride], g.send[:stride]); err != nil {
		return err
	}
	from, to := collective.Part(g.Group, g.Size())
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
	g.recv = grow(g.recv, g.Size()*g.longestMessage(len(src)/g.Size()))
	if err := g.Group.Alltoall(g.recv[:g.Size()*stride], g.send[:g.Size()*stride]); err != nil {
		return err
	}
	return g.unpack(dst, g.recv, stride, 0, g.Size())
}

// AlltoallShared: compressed blocks go to all ranks alike, those of the node too.
func (g *compressed) AlltoallShared(recv, send []byte) error {
	row := len(send) / g.NodeSize()
	g.blocks = grow(g.blocks, row)
	if err := g.Alltoall(g.blocks, send[g.NodeRank()*row:][:row]); err != nil || len(recv) == 0 {
		return err
	}
	n := row / g.Size()
	for rank := range g.Size() {
		copy(recv[(rank*g.NodeSize()+g.NodeRank())*n:], g.blocks[rank*n:(rank+1)*n])
	}
	return nil
}

// longestMessage is the longest message that a block of n bytes may become.
func (g *compressed) longestMessage(n int) int { return frameLen + g.encoder.MaxEncodedSize(n) }

// pack compresses src, cut into equal blocks, into send, one message every stride bytes.
func (g *compressed) pack(src []byte, blocks int) (stride int, err error) {
	n := len(src) / blocks
	longest := g.longestMessage(n)
	g.send, g.planes = grow(g.send, blocks*longest), grow(g.planes, n)
	for i := range blocks {
		splitBytePlanes(g.planes, src[i*n:(i+1)*n], g.width)
		g.frame = g.encoder.EncodeAll(g.planes, g.frame[:0]) // it may need more room meanwhile than the frame in the end
		binary.LittleEndian.PutUint32(g.send[i*longest:], uint32(len(g.frame)))
		copy(g.send[i*longest+frameLen:(i+1)*longest], g.frame)
		stride = max(stride, frameLen+len(g.frame))
	}
	own, all := g.longest[:1], g.longest[1:]
	own[0] = uint64(stride)
	if err := collective.Allgather(g.Group, all, own); err != nil {
		return 0, fmt.Errorf("merge: lengths of compressed messages: %w", err)
	}
	for _, l := range all {
		stride = max(stride, int(l))
	}
	for i := 1; i < blocks; i++ { // to the left only, over what has been moved
		copy(g.send[i*stride:(i+1)*stride], g.send[i*longest:(i+1)*longest])
	}
	return stride, nil
}

// unpack decompresses the messages of ranks from..to-1, which lie in src every stride bytes, into their blocks of dst.
func (g *compressed) unpack(dst, src []byte, stride, from, to int) error {
	n := len(dst) / g.Size()
	g.planes = grow(g.planes, n)
	for k := from; k < to; k++ {
		message := src[k*stride : (k+1)*stride]
		length := int(binary.LittleEndian.Uint32(message))
		if length > stride-frameLen {
			return fmt.Errorf("merge: message of rank %d: a frame of %d bytes in a message of %d", k, length, stride)
		}
		planes, err := g.decoder.DecodeAll(message[frameLen:frameLen+length], g.planes[:0])
		if err != nil {
			return fmt.Errorf("merge: message of rank %d: %w", k, err)
		}
		if len(planes) != n {
			return fmt.Errorf("merge: message of rank %d: %d bytes, expected %d", k, len(planes), n)
		}
		joinBytePlanes(dst[k*n:(k+1)*n], planes, g.width)
	}
	return nil
}

// splitBytePlanes writes the first bytes of all elements of that width, then their second bytes and so on, then the rest of src.
func splitBytePlanes(dst, src []byte, width int) {
	n := len(src) / width
	for p := range width {
		plane := dst[p*n : (p+1)*n]
		for i := range plane {
			plane[i] = src[i*width+p]
		}
	}
	copy(dst[n*width:], src[n*width:])
}

// joinBytePlanes is the inverse of splitBytePlanes.
func joinBytePlanes(dst, src []byte, width int) {
	n := len(src) / width
	for p := range width {
		for i, b := range src[p*n : (p+1)*n] {
			dst[i*width+p] = b
		}
	}
	copy(dst[n*width:], src[n*width:])
}
