package checkpoint

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"lte/internal/file"
)

// Manifest lists the contents of a checkpoint and describes its run.
type Manifest struct {
	Format  int             `json:"format"`  // of the files
	Version string          `json:"version"` // of the program that wrote it
	Created time.Time       `json:"created"`
	Step    int             `json:"step"`
	Ranks   int             `json:"ranks"`
	Run     json.RawMessage `json:"run"`    // the caller's description of the run
	Config  string          `json:"config"` // TOML, complete
	Parts   []File          `json:"parts"`  // the shared one, then one of each rank
}

const (
	format       = 2
	manifestFile = "manifest.json"
	maxManifest  = 16 << 20 // bytes; enough for more than 100,000 ranks
	maxStep      = 1 << 53
)

// The manifest ends with the checksum of all bytes before this line.
const (
	trailer    = "  \"xxh64\": \""
	trailerEnd = "\"\n}\n"
	trailerLen = len(trailer) + 16 + len(trailerEnd)
)

// write writes the manifest with its checksum.
func (m Manifest) write(folder string) error {
	m.Format = format
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	body := strings.TrimSuffix(string(text), "\n}") + ",\n"
	return write(filepath.Join(folder, manifestFile), "manifest", func(w io.Writer) error {
		_, err := io.WriteString(w, body+trailer+checksum([]byte(body))+trailerEnd)
		return err
	})
}

// readManifest reads the manifest of a checkpoint. A change of any byte is an error.
func readManifest(folder string) (m Manifest, err error) {
	text, err := file.Read(filepath.Join(folder, manifestFile), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s is missing: the checkpoint was not finished, or the file was removed", manifestFile)
	} else if err != nil {
		return m, err
	}
	at := len(text) - trailerLen
	if at < 0 || string(text[at:]) != trailer+checksum(text[:at])+trailerEnd {
		return m, fmt.Errorf("%s is damaged: its checksum is not the one that was written", manifestFile)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %s", manifestFile, brief(err.Error()))
	}
	if m.Format != format {
		return m, fmt.Errorf("%s is of format %d, and this program reads %d: use the program of version %s", manifestFile, m.Format, format, brief(m.Version))
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%s: %w", manifestFile, err)
	}
	return m, nil
}

// check validates a manifest with a correct checksum: its parts must be the shared one and one of each rank, in this order.
func (m Manifest) check() error {
	if m.Step < 0 || m.Step > maxStep {
		return fmt.Errorf("step %d: expected 0 to %d", m.Step, maxStep)
	}
	if m.Ranks < 1 || m.Ranks != len(m.Parts)-1 {
		return fmt.Errorf("%d ranks and %d parts: expected 1 rank or more, and one part more than ranks", m.Ranks, len(m.Parts))
	}
	for i, p := range m.Parts {
		want := shared + suffix
		if i > 0 {
			want = rankPart(i-1) + suffix
		}
		if p.Name != want && p.Name != want+zstdSuffix {
			return fmt.Errorf("part %d is called %q: expected %s, or that and %s", i, brief(p.Name), want, zstdSuffix)
		}
		if p.Bytes < 1 || p.Bytes > maxPart {
			return fmt.Errorf("%s has %d bytes: expected 1 to %d", p.Name, p.Bytes, int64(maxPart))
		}
		if sum, err := hex.DecodeString(p.XXH64); err != nil || len(sum) != 8 {
			return fmt.Errorf("%s has the checksum %q: expected 16 hexadecimal digits", p.Name, brief(p.XXH64))
		}
	}
	return nil
}
