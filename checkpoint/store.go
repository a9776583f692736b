package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lte/internal/file"
)

const (
	folder = "checkpoints" // of a run directory
	prefix = "step-"
	shared = "shared"
	latest = "latest"
	best   = "best"
)

// Store holds the checkpoints of a run.
type Store struct {
	dir      string // …/checkpoints
	keep     int
	compress bool
}

// Open returns the store of a run directory, which keeps the last keep checkpoints, at least 1. It writes nothing.
func Open(runDir string, keep int, compress bool) *Store {
	return &Store{dir: filepath.Join(runDir, folder), keep: keep, compress: compress}
}

// Path is the folder of the checkpoint after that step.
func (s *Store) Path(step int) string { return filepath.Join(s.dir, name(step)) }

func name(step int) string { return fmt.Sprintf("%s%09d", prefix, step) }

// WriteShared writes the part that is the same on all ranks.
func (s *Store) WriteShared(step int, tensors []Tensor) (File, error) {
	return s.writePart(step, shared, tensors)
}

// WriteRank writes the part of one rank.
func (s *Store) WriteRank(step, rank int, tensors []Tensor) (File, error) {
	return s.writePart(step, rankPart(rank), tensors)
}

// RankFile returns the entry of a rank's part of that size and checksum.
func (s *Store) RankFile(rank int, bytes int64, sum uint64) File {
	return File{Name: s.fileName(rankPart(rank)), Bytes: bytes, XXH64: hexadecimal(sum)}
}

func (s *Store) fileName(part string) string {
	if s.compress {
		return part + suffix + zstdSuffix
	}
	return part + suffix
}

func rankPart(rank int) string { return fmt.Sprintf("rank-%05d", rank) }

func (s *Store) writePart(step int, part string, tensors []Tensor) (File, error) {
	if err := os.MkdirAll(s.Path(step), 0o755); err != nil {
		return File{}, err
	}
	if info, err := os.Lstat(s.Path(step)); err == nil && !info.IsDir() {
		return File{}, fmt.Errorf("%s is a link, and its target is not a checkpoint: remove it", s.Path(step))
	}
	return writePart(s.Path(step), s.fileName(part), tensors)
}

// Commit completes a checkpoint of the parts that m lists, which have all been written: it writes the manifest, points the link latest, and
// best if isBest, to it, and removes checkpoints that are no longer kept. Only rank 0 calls it.
func (s *Store) Commit(m Manifest, isBest bool) error {
	dir := s.Path(m.Step)
	for _, p := range m.Parts {
		info, err := os.Stat(filepath.Join(dir, p.Name))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s was written but is not visible from rank 0: all ranks must write to the same file system", filepath.Join(dir, p.Name))
		} else if err != nil {
			return err
		}
		if info.Size() != p.Bytes {
			return fmt.Errorf("%s has %d bytes, and its rank wrote %d", filepath.Join(dir, p.Name), info.Size(), p.Bytes)
		}
	}
	for _, left := range []string{dir, s.dir} { // all ranks have finished writing, and from here on only rank 0 writes
		if err := file.RemoveTemporaries(left); err != nil {
			return err
		}
	}
	if err := syncFolder(s.dir); err != nil { // the entry of the checkpoint's folder
		return err
	}
	Reached("parts agreed")
	if err := m.write(dir); err != nil {
		return err
	}
	if err := s.link(latest, m.Step); err != nil {
		return err
	}
	if isBest {
		if err := s.link(best, m.Step); err != nil {
			return err
		}
	}
	return s.prune(m.Step)
}

// MarkBest points the link best to the checkpoint after that step.
func (s *Store) MarkBest(step int) error { return s.link(best, step) }

// link atomically points a link to the checkpoint after that step.
func (s *Store) link(link string, step int) error {
	if err := file.Link(name(step), filepath.Join(s.dir, link), func() { Reached(link + " made") }); err != nil {
		return err
	}
	Reached(link + " moved")
	return syncFolder(s.dir)
}

// prune removes all checkpoints except the last s.keep up to that step and the best. Those of later steps were damaged when the run resumed
// from an earlier one, or were never finished.
func (s *Store) prune(step int) error {
	steps, err := s.Steps()
	if err != nil {
		return err
	}
	bestOf, _ := os.Readlink(filepath.Join(s.dir, best)) // an error means that there is no best one
	kept := 0
	for _, at := range steps {
		if at <= step && s.Finished(at) && (kept < s.keep || name(at) == bestOf) {
			kept++
			continue
		}
		// The manifest goes first, so that a partly removed folder is never taken for a checkpoint.
		if err := os.Remove(filepath.Join(s.Path(at), manifestFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		Reached("old manifest removed")
		if err := os.RemoveAll(s.Path(at)); err != nil {
			return err
		}
	}
	Reached("old ones removed")
	return nil
}

// Steps lists the steps of all checkpoint folders, finished or not, the newest first. Links are ignored.
func (s *Store) Steps() (steps []int, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var step int
		if n, err := fmt.Sscanf(e.Name(), prefix+"%d", &step); n == 1 && err == nil && step >= 0 && step <= maxStep && e.IsDir() && e.Name() == name(step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// Finished reports whether the checkpoint after that step has a manifest, which is written last.
func (s *Store) Finished(step int) bool {
	_, err := os.Lstat(filepath.Join(s.Path(step), manifestFile))
	return err == nil
}

// Read reads the manifest of the checkpoint after that step.
func (s *Store) Read(step int) (Manifest, error) {
	m, err := readManifest(s.Path(step))
	if err == nil && m.Step != step {
		err = fmt.Errorf("%s says that it is of step %d", manifestFile, m.Step)
	}
	return m, err
}

// Shared reads the part that is the same on all ranks.
func (s *Store) Shared(m Manifest) (*Part, error) { return s.part(m, shared) }

// Rank reads the part of one rank.
func (s *Store) Rank(m Manifest, rank int) (*Part, error) { return s.part(m, rankPart(rank)) }

func (s *Store) part(m Manifest, part string) (*Part, error) {
	for _, f := range m.Parts {
		if before, _, _ := strings.Cut(f.Name, "."); before == part {
			return readPart(s.Path(m.Step), f)
		}
	}
	return nil, fmt.Errorf("%s lists no part %s", manifestFile, part)
}
