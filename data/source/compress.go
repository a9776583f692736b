package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"lte/data/limit"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression returns the compression format of a file with these first bytes: "zstd", "gzip", or "" for neither. RFC 8878, 3.1 (a frame,
// or a skippable one), and RFC 1952, 2.3.1.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return "zstd"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	}
	return ""
}

// unpack decompresses r, up to the bytes that limit.Unpacked allows; format is from compression. Close frees the decompressor, not r.
func unpack(r io.Reader, format string) (io.ReadCloser, error) {
	in := &counter{r: r}
	switch format {
	case "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(1<<30)) // of the window, which a damaged header may enlarge
		if err != nil {
			return nil, damaged("as zstd", err)
		}
		return &unpacker{ReadCloser: z.IOReadCloser(), in: in}, nil
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, damaged("as gzip", err)
		}
		return &unpacker{ReadCloser: z, in: in}, nil
	}
	return io.NopCloser(r), nil
}

// unpacker decompresses until its output is too large for its input.
type unpacker struct {
	io.ReadCloser
	in  *counter
	out int64 // bytes
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if u.out += int64(n); u.out > limit.Unpacked(u.in.n.Load()) {
		return 0, errExpands
	}
	return n, err
}

// counter counts the bytes that are read; the zstd decoder reads on a goroutine of its own.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func damaged(where string, err error) error {
	if errors.As(err, new(*beyondLimit)) {
		return fmt.Errorf("%s: %w", where, err)
	}
	word := "is damaged"
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		word = "ends too early"
	}
	return fmt.Errorf("the file %s, %s: %w; copy or download it again", word, where, err)
}
