package packed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lte/data/limit"
	"lte/internal/file"
)

// manifest is manifest.json.
type manifest struct {
	Format string `json:"format"` // magic
	Description
	Size        int                  `json:"size"` // limit of the shorter side, in pixels; 0: none
	Compression string               `json:"compression"`
	Skipped     int                  `json:"skipped"` // images that could not be read
	Splits      map[string][]listing `json:"splits"`
}

// listing is the manifest's entry of a shard.
type listing struct {
	File     string `json:"file"`
	Images   int    `json:"images"`
	Bytes    int64  `json:"bytes"`
	Checksum string `json:"checksum"` // of its index, hexadecimal
}

func readManifest(folder string) (m manifest, err error) {
	b, err := file.Read(filepath.Join(folder, manifestName), limit.Manifest)
	if err != nil {
		return m, file.Cause(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("expected JSON: %w", err)
	}
	switch {
	case m.Format != magic:
		return m, fmt.Errorf("format %q, expected %q", m.Format, magic)
	case m.Classes < 1 || m.Classes > limit.Classes:
		return m, fmt.Errorf("%d classes, expected 1 to %d", m.Classes, limit.Classes)
	case m.ClassNames != nil && len(m.ClassNames) != m.Classes:
		return m, fmt.Errorf("%d classes with %d names", m.Classes, len(m.ClassNames))
	case m.Channels < 1 || m.Channels > maxChannels || m.White < 1 || m.White > 255:
		return m, fmt.Errorf("%d channels up to %d, expected 1 to %d channels up to 1 to 255", m.Channels, m.White, maxChannels)
	}
	listed := map[string]bool{}
	for _, shards := range m.Splits {
		for _, l := range shards {
			if listed[l.File] {
				return m, fmt.Errorf("shard %q twice", l.File)
			}
			listed[l.File] = true
		}
	}
	return m, nil
}

// prepare removes what killed packings have left in a folder, which is locked. A manifest.json of something else, which would be
// overwritten at the end, is an error.
func prepare(folder string) error {
	name := filepath.Join(folder, manifestName)
	b, err := file.Read(name, limit.Manifest)
	var m struct{ Format string }
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case json.Unmarshal(b, &m) != nil || !strings.HasPrefix(m.Format, magic[:7]):
		return fmt.Errorf("%s exists but is not a packed set's: choose another folder, or remove it", name)
	}
	return file.RemoveTemporaries(folder)
}

// checkSize refuses a set whose manifest would be too large to open.
func (m manifest) checkSize(src Source, shard int) error {
	names, err := json.Marshal(m.ClassNames)
	shards := src.Train.Len()/shard + src.Test.Len()/shard + 2
	if err == nil && len(names)+8*len(m.ClassNames)+200*shards > limit.Manifest { // with its indentation
		err = fmt.Errorf("%d shards and the names of %d classes, expected as many as a %s of %d bytes can list: pack with a larger --shard",
			shards, m.Classes, manifestName, limit.Manifest)
	}
	return err
}

func (m manifest) write(folder string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return file.WriteBytes(filepath.Join(folder, manifestName), append(b, '\n'))
}
