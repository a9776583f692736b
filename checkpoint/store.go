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

// Store is the checkpoints of a run.
type Store struct {
	dir      string // …/checkpoints
	keep     int
	compress bool
}

// Open returns the checkpoints of a run directory, of which the last keep are kept, 1 or more. Nothing is written yet.
func Open(runDir string, keep int, compress bool) *Store {
	return &Store{dir: filepath.Join(runDir, folder), keep: keep, compress: compress}
}

// Path is the folder of the checkpoint after that step.
func (s *Store) Path(step int) string { return filepath.Join(s.dir, name(step)) }

func name(step int) string { return fmt.Sprintf("%s%09d", prefix, step) }

// WriteShared writes the part that all ranks hold alike.
func (s *Store) WriteShared(step int, tensors []Tensor) (File, error) {
	return s.writePart(step, shared, tensors)
}

// WriteRank writes the part of one rank.
func (s *Store) WriteRank(step, rank int, tensors []Tensor) (File, error) {
	return s.writePart(step, rankPart(rank), tensors)
}

// RankFile is what a rank has written, told by itself in numbers.
func (s *Store) RankFile(rank int, bytes int64, sum uint64) File {
	return File{Name: s.fileName(rankPart(rank)), Bytes: bytes, XXH64: fmt.Sprintf("%016x", sum)}
}

func (s *Store) fileName(part string) string {
	if s.compress {
		return part + plain + packed
	}
	return part + plain
}

func rankPart(rank int) string { return fmt.Sprintf("rank-%05d", rank) }

func (s *Store) writePart(step int, part string, tensors []Tensor) (File, error) {
	if err := os.MkdirAll(s.Path(step), 0o755); err != nil {
		return File{}, err
	}
	if info, err := os.Lstat(s.Path(step)); err == nil && !info.IsDir() {
		return File{}, fmt.Errorf("%s is a link, and what it leads to is no checkpoint: remove it", s.Path(step))
	}
	return writePart(s.Path(step), s.fileName(part), tensors)
}

// Commit makes a checkpoint of the parts that m names, which have all been written: it writes the manifest, then has the link
// latest, and best where isBest, lead to it, and then removes what is no longer kept. One rank calls it.
func (s *Store) Commit(m Manifest, isBest bool) error {
	dir := s.Path(m.Step)
	for _, p := range m.Parts {
		info, err := os.Stat(filepath.Join(dir, p.Name))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s was written and is not to be seen from rank 0: all ranks must write to the same file system", filepath.Join(dir, p.Name))
		} else if err != nil {
			return err
		}
		if info.Size() != p.Bytes {
			return fmt.Errorf("%s has %d bytes, and its rank wrote %d", filepath.Join(dir, p.Name), info.Size(), p.Bytes)
		}
	}
	for _, left := range []string{dir, s.dir} { // all ranks have written their parts, and rank 0 alone writes what follows
		if err := file.RemoveTemporaries(left); err != nil {
			return err
		}
	}
	if err := syncFolder(s.dir); err != nil { // the name of the checkpoint's own folder
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

// MarkBest has the link best lead to the checkpoint after that step.
func (s *Store) MarkBest(step int) error { return s.link(best, step) }

// link has a link lead to the checkpoint after that step, from one instant to the next.
func (s *Store) link(link string, step int) error {
	at := filepath.Join(s.dir, link)
	temporary, err := file.TemporaryLink(name(step), at)
	if err != nil {
		return err
	}
	Reached(link + " made")
	if err := os.Rename(temporary, at); err != nil {
		_ = os.Remove(temporary) // the error tells more
		return err
	}
	Reached(link + " moved")
	return syncFolder(s.dir)
}

// prune removes all checkpoints but the last ones up to that step, which is one, and the best. What is of a later step was
// damaged when the run went on from an earlier one, or was never finished.
func (s *Store) prune(step int) error {
	steps, err := s.Steps()
	if err != nil {
		return err
	}
	bestOf, _ := os.Readlink(filepath.Join(s.dir, best)) // none: nothing is kept for it
	kept := 0
	for _, at := range steps {
		if at <= step && s.Finished(at) && (kept < s.keep || name(at) == bestOf) {
			kept++
			continue
		}
		// Without its manifest it is no checkpoint any more: half of one is never taken for one.
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

// Steps are those after which checkpoints were begun, the newest first, whether they were finished or not. A link is none of them.
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

// Finished says whether the checkpoint after that step has a manifest: it was written last.
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

// Shared reads the part that all ranks hold alike.
func (s *Store) Shared(m Manifest) (*Part, error) { return s.part(m, shared) }

// Rank reads the part of one rank.
func (s *Store) Rank(m Manifest, rank int) (*Part, error) { return s.part(m, rankPart(rank)) }

func (s *Store) part(m Manifest, part string) (*Part, error) {
	for _, f := range m.Parts {
		if before, _, _ := strings.Cut(f.Name, "."); before == part {
			return readPart(s.Path(m.Step), f)
		}
	}
	return nil, fmt.Errorf("%s names no part %s", manifestFile, part)
}
