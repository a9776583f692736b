package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Verified is the result of verifying a checkpoint.
type Verified struct {
	Path     string
	Manifest Manifest // zero where it cannot be read
	Parts    []VerifiedPart
	Links    []string // those of latest and best that point to it
	Err      error    // of the manifest; nil where it is valid
}

// VerifiedPart is the result of verifying a part.
type VerifiedPart struct {
	File
	Tensors []Stored // nil where the part is not valid
	Err     error
}

// Valid reports whether the manifest and all parts are as they were written.
func (v Verified) Valid() bool {
	return v.Err == nil && !slices.ContainsFunc(v.Parts, func(p VerifiedPart) bool { return p.Err != nil })
}

// Verify reads and verifies the checkpoint at path, its folder or a link to it; or all checkpoints of a run directory or of its
// checkpoints folder, the newest first.
func Verify(path string) ([]Verified, error) {
	for _, dir := range []string{filepath.Join(path, folder), path} {
		s := &Store{dir: dir}
		steps, err := s.Steps()
		if err != nil {
			return nil, err
		}
		var all []Verified
		for _, step := range steps {
			all = append(all, verify(s, step))
		}
		if all != nil {
			return all, nil
		}
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	digits, ok := strings.CutPrefix(filepath.Base(real), prefix)
	step, err := strconv.Atoi(digits)
	if !ok || err != nil || filepath.Base(real) != name(step) {
		return nil, fmt.Errorf("%s is neither a checkpoint nor a folder of checkpoints: expected a run directory or %s/%s…", path, folder, prefix)
	}
	return []Verified{verify(&Store{dir: filepath.Dir(real)}, step)}, nil
}

func verify(s *Store, step int) Verified {
	v := Verified{Path: s.Path(step)}
	for _, link := range []string{latest, best} {
		if to, err := os.Readlink(filepath.Join(s.dir, link)); err == nil && to == name(step) {
			v.Links = append(v.Links, link)
		}
	}
	if v.Manifest, v.Err = s.Read(step); v.Err != nil {
		return v
	}
	for _, f := range v.Manifest.Parts {
		part := VerifiedPart{File: f}
		p, err := readPart(v.Path, f)
		if part.Err = err; err == nil {
			part.Tensors = p.Tensors()
		}
		v.Parts = append(v.Parts, part)
	}
	return v
}
