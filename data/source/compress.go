package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression returns how a file that begins like that is compressed: "zstd", "gzip", or "" for neither.
// RFC 8878, 3.1 (a frame, or a skippable one), and RFC 1952, 2.3.1.
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

// unpack returns what r yields when it is unpacked; by is from compression. Close frees the unpacker, not r.
func unpack(r io.Reader, by string) (io.ReadCloser, error) {
	switch by {
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(1<<30)) // of a window, which a damaged header may enlarge
		if err != nil {
			return nil, damaged("as zstd", err)
		}
		return z.IOReadCloser(), nil
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, damaged("as gzip", err)
		}
		return z, nil
	}
	return io.NopCloser(r), nil
}

func damaged(where string, err error) error {
	word := "is damaged"
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		word = "ends too early"
	}
	return fmt.Errorf("the file %s, %s: %w; copy or download it again", word, where, err)
}
