package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Manifest is what a checkpoint consists of, and of which run it is.
type Manifest struct {
	Format  int             `json:"format"`  // 1
	Version string          `json:"version"` // of the program that wrote it
	Created time.Time       `json:"created"`
	Step    int             `json:"step"`
	Ranks   int             `json:"ranks"`
	Run     json.RawMessage `json:"run"`    // what the caller says of the run
	Config  string          `json:"config"` // TOML, complete
	Parts   []File          `json:"parts"`  // the shared one, then every rank's
}

const (
	format       = 1
	manifestFile = "manifest.json"
)

// The manifest ends with the checksum of all bytes before this line.
const (
	seal    = "  \"xxh64\": \""
	sealEnd = "\"\n}\n"
	sealLen = len(seal) + 16 + len(sealEnd)
)

// write writes the manifest, sealed.
func (m Manifest) write(folder string) error {
	m.Format = format
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	body := strings.TrimSuffix(string(text), "\n}") + ",\n"
	return write(filepath.Join(folder, manifestFile), "manifest", func(w io.Writer) error {
		_, err := io.WriteString(w, body+seal+checksum([]byte(body))+sealEnd)
		return err
	})
}

// readManifest reads the manifest of a checkpoint. Any byte that is not as it was written is an error.
func readManifest(folder string) (m Manifest, err error) {
	text, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s is missing: the checkpoint was not finished, or lost it", manifestFile)
	} else if err != nil {
		return m, err
	}
	at := len(text) - sealLen
	if at < 0 || string(text[at:]) != seal+checksum(text[:at])+sealEnd {
		return m, fmt.Errorf("%s is damaged: its checksum is not the one that was written", manifestFile)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestFile, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("%s is of format %d, and this program reads %d: use the program of version %s", manifestFile, m.Format, format, m.Version)
	}
	return m, nil
}
