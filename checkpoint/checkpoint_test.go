package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nlpodyssey/safetensors"
)

// memory is the state of a run of two ranks: shared by both, and of each.
type memory struct {
	weights []float32
	step    int
	seconds float64
	own     [2][]float32
	sent    [2]int64
}

func newMemory(seed uint64) *memory {
	rng := rand.New(rand.NewPCG(seed, 1))
	draw := func(n int) (x []float32) {
		for range n {
			x = append(x, float32(rng.NormFloat64()))
		}
		return x
	}
	return &memory{weights: draw(37), step: rng.IntN(1000), seconds: rng.Float64(), own: [2][]float32{draw(11), draw(11)}, sent: [2]int64{5, 6}}
}

func (m *memory) shared() []Tensor {
	return []Tensor{Floats("weights", m.weights), Int("step", &m.step), Real("seconds", &m.seconds), Floats("none", nil)}
}

func (m *memory) rank(k int) []Tensor {
	return []Tensor{Floats("own", m.own[k]), Int("sent", &m.sent[k])}
}

// save writes a checkpoint as a run of two ranks does.
func save(s *Store, m *memory, step int, isBest bool) error {
	f, err := s.WriteShared(step, m.shared())
	parts := []File{f}
	for k := range 2 {
		var own File
		if err == nil {
			own, err = s.WriteRank(step, k, m.rank(k))
		}
		parts = append(parts, s.RankFile(k, own.Bytes, own.Sum()))
	}
	if err != nil {
		return err
	}
	return s.Commit(Manifest{Version: "v1", Step: step, Ranks: 2, Run: []byte(`{"merges": 3}`), Config: "seed = 1\n", Parts: parts}, isBest)
}

// load reads all of a checkpoint.
func load(s *Store, step int) (*memory, error) {
	man, err := s.Read(step)
	if err != nil {
		return nil, err
	}
	m := newMemory(99)
	restore := func(p *Part, err error, into []Tensor) error {
		if err != nil {
			return err
		}
		return p.Restore(into)
	}
	p, err := s.Shared(man)
	if err := restore(p, err, m.shared()); err != nil {
		return nil, err
	}
	for k := range 2 {
		p, err := s.Rank(man, k)
		if err := restore(p, err, m.rank(k)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(a, b *memory) bool { return fmt.Sprintf("%x", *a) == fmt.Sprintf("%x", *b) }

// Fails if a value is not read back as written, is read from another file, or a snapshot is not a copy; if a leftover temporary file, a
// folder with another step's name or a manifest of another format is accepted.
func TestCheckpointIsReadBackAsWritten(t *testing.T) {
	for _, compress := range []bool{false, true} {
		s, m := Open(t.TempDir(), 2, compress), newMemory(1)
		copies, room := Snapshot(nil, m.shared())
		m.weights[0]++
		if bytes.Equal(copies[0].Bytes, m.shared()[0].Bytes) {
			t.Error("a snapshot follows the memory")
		}
		if again, _ := Snapshot(room, m.shared()); &again[0].Bytes[0] != &copies[0].Bytes[0] {
			t.Error("a snapshot does not use the memory of the one before")
		}
		must(t, os.MkdirAll(s.Path(20), 0o755))
		left := filepath.Join(s.Path(20), s.fileName(shared)+".tmp")
		must(t, os.WriteFile(left, make([]byte, 1<<16), 0o644))
		must(t, save(s, m, 20, true))
		got, err := load(s, 20)
		must(t, err)
		if !equal(got, m) {
			t.Errorf("zstd %t: %+v, want %+v", compress, got, m)
		}
		for _, link := range []string{latest, best} {
			if to, _ := os.Readlink(filepath.Join(s.dir, link)); to != name(20) {
				t.Errorf("%s leads to %q", link, to)
			}
		}
		must(t, os.Rename(s.Path(20), s.Path(30)))
		if _, err := load(s, 30); err == nil || !strings.Contains(err.Error(), "says that it is of step 20") {
			t.Errorf("a folder by another name: %v", err)
		}
		path := filepath.Join(s.Path(30), manifestFile)
		text, err := os.ReadFile(path)
		must(t, err)
		text = bytes.Replace(text[:len(text)-trailerLen], []byte(`"format": 2`), []byte(`"format": 3`), 1)
		must(t, os.WriteFile(path, append(text, trailer+checksum(text)+trailerEnd...), 0o644))
		if _, err := load(s, 30); err == nil || !strings.Contains(err.Error(), "of format 3") {
			t.Errorf("another format: %v", err)
		}
	}
}

// Fails if an error of filling a file, or of writing its contents, is lost or leaves a file behind.
func TestFailedWriteLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for want, fill := range map[error]func(io.Writer) error{
		io.ErrShortWrite: func(io.Writer) error { return io.ErrShortWrite },
		syscall.ENOSPC: func(w io.Writer) error {
			fullDisk(t, path)
			_, err := io.WriteString(w, "text")
			return err
		},
	} {
		if err := write(path, "part", fill); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if left, _ := filepath.Glob(path + "*"); left != nil {
			t.Errorf("%v: %v is left", want, left)
		}
	}
}

// fullDisk makes the disk full for the temporary file of path, which this process has open.
func fullDisk(t *testing.T, path string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()
	open, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	for _, fd := range open {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, path+".") {
			n, err := strconv.Atoi(filepath.Base(fd))
			must(t, errors.Join(err, syscall.Dup3(int(full.Fd()), n, syscall.O_CLOEXEC)))
			return
		}
	}
	t.Errorf("no temporary file of %s is open", path)
}

// Fails if one of two tensors with the same name is lost silently.
func TestTensorsOfOneNamePanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two tensors of one name were written")
		}
	}()
	_, _ = Open(t.TempDir(), 1, false).WriteShared(1, []Tensor{Floats("x", []float32{1}), Floats("x", []float32{2})})
}

// Fails if a part is restored to memory of other tensors, or partly restored, or if RestorePartial restores a tensor of another length or
// does not return the missing ones.
func TestPartIsRestoredCompletelyOrNotAtAll(t *testing.T) {
	s, m := Open(t.TempDir(), 1, false), newMemory(1)
	must(t, save(s, m, 1, false))
	man, err := s.Read(1)
	must(t, err)
	p, err := s.Shared(man)
	must(t, err)
	var x int
	short := newMemory(2)
	for want, into := range map[string][]Tensor{
		`has no tensor "other"`:                            append(short.shared(), Int("other", &x)),
		`has a tensor "none", which this run does not`:     short.shared()[:3],
		`tensor "step" has 8 bytes of I64, and this run's`: {Floats("weights", short.weights), Floats("step", make([]float32, 2)), short.shared()[2], short.shared()[3]},
		`tensor "seconds" has 8 bytes of F64, and this`:    {Floats("weights", short.weights), short.shared()[1], {"seconds", safetensors.F64, make([]byte, 16)}, short.shared()[3]},
	} {
		before := slices.Clone(short.weights)
		if err := p.Restore(into); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if !slices.Equal(short.weights, before) {
			t.Errorf("%s: something was restored", want)
		}
	}
	left, err := p.RestorePartial(append(short.shared(), Int("other", &x)))
	if err != nil || len(left) != 1 || left[0].Name != "other" || !slices.Equal(short.weights, m.weights) {
		t.Errorf("took %v, %v are left; %v", short.weights, left, err)
	}
	if _, err := p.RestorePartial([]Tensor{Floats("weights", make([]float32, 3))}); err == nil || !strings.Contains(err.Error(), "148 bytes of F32") {
		t.Errorf("%v, want an error of the length", err)
	}
}

// Every file is truncated to every seventh length, has a bit of every seventh byte flipped, and is deleted. Fails if any of these is not
// detected, or if no flipped bit is attributed to its tensor.
func TestAllDamageIsDetected(t *testing.T) {
	for _, compress := range []bool{false, true} {
		s := Open(t.TempDir(), 1, compress)
		must(t, save(s, newMemory(1), 7, false))
		entries, err := os.ReadDir(s.Path(7))
		must(t, err)
		if len(entries) != 4 {
			t.Fatalf("%d files", len(entries))
		}
		faults, named := 0, 0
		for _, e := range entries {
			path := filepath.Join(s.Path(7), e.Name())
			whole, err := os.ReadFile(path)
			must(t, err)
			found := func(what string) {
				t.Helper()
				faults++
				_, err := load(s, 7)
				if err == nil || !strings.Contains(err.Error(), e.Name()) {
					t.Fatalf("%s %s: %v", e.Name(), what, err)
				}
				if strings.Contains(err.Error(), "\" is damaged") {
					named++
				}
			}
			const apart = 7
			for n := 0; n < len(whole); n += apart {
				must(t, os.WriteFile(path, whole[:n], 0o644))
				found(fmt.Sprintf("truncated to %d bytes", n))
			}
			for i := 0; i < len(whole); i += apart {
				whole[i] ^= 1 << (i % 8)
				must(t, os.WriteFile(path, whole, 0o644))
				found(fmt.Sprintf("with a bit of byte %d flipped", i))
				whole[i] ^= 1 << (i % 8)
			}
			must(t, os.Remove(path))
			found("deleted")
			must(t, os.WriteFile(path, whole, 0o644))
			_, err = load(s, 7)
			must(t, err)
		}
		t.Logf("zstd %t: %d faults, all found, %d with the tensor's name", compress, faults, named)
		if !compress && named == 0 {
			t.Error("no tensor was named")
		}
	}
}

// A process that ends at any point of writing leaves a complete checkpoint behind, the previous or the new one; and the next one is
// written over what it left.
//
// Fails if the manifest is written before a part, if anything is removed before the manifest and latest exist, if latest moves earlier,
// or if files of a checkpoint are removed before its manifest.
func TestProcessMayEndAtAnyPointOfWriting(t *testing.T) {
	defer func() { Reached = func(string) {} }()
	old, new := newMemory(1), newMemory(2)
	for point := 0; ; point++ {
		s := Open(t.TempDir(), 1, false)
		Reached = func(string) {}
		must(t, save(s, old, 10, false))
		left, at := point, ""
		Reached = func(p string) {
			if at = p; left == 0 {
				panic(p)
			}
			left--
		}
		ended := func() (ended bool) {
			defer func() { ended = recover() != nil }()
			must(t, save(s, new, 20, true))
			return false
		}()
		Reached = func(string) {}
		steps, err := s.Steps()
		must(t, err)
		if at == "old manifest removed" && ended && s.Finished(10) {
			t.Fatal("a checkpoint that is being removed still has its manifest")
		}
		i := slices.IndexFunc(steps, s.Finished)
		if i < 0 {
			t.Fatalf("%s: no checkpoint is left", at)
		}
		got, err := load(s, steps[i])
		if err != nil || !equal(got, map[int]*memory{10: old, 20: new}[steps[i]]) {
			t.Fatalf("%s: step %d: %v", at, steps[i], err)
		}
		to, err := os.Readlink(filepath.Join(s.dir, latest))
		must(t, err)
		if _, err := os.Stat(filepath.Join(s.dir, to, manifestFile)); err != nil {
			t.Fatalf("%s: latest leads to no checkpoint: %v", at, err)
		}
		must(t, save(s, new, 20, true))
		if got, err := load(s, 20); err != nil || !equal(got, new) {
			t.Fatalf("%s, then written again: %v", at, err)
		}
		for _, folder := range []string{s.dir, s.Path(20)} {
			if left, _ := filepath.Glob(filepath.Join(folder, "*.tmp")); left != nil {
				t.Fatalf("%s, then written again: %q is left", at, left)
			}
		}
		if !ended {
			t.Logf("%d points", point)
			if point < 20 {
				t.Errorf("only %d points", point)
			}
			return
		}
	}
}

// The last checkpoints and the best are kept; unfinished ones are removed, and those of later steps than the one that the run resumed
// from. Fails if an unfinished one, or the best, counts as another, or if folders of other names do.
func TestLastAndBestCheckpointsAreKept(t *testing.T) {
	s, m := Open(t.TempDir(), 2, false), newMemory(1)
	steps := func() string {
		steps, err := s.Steps()
		must(t, err)
		return fmt.Sprint(steps)
	}
	for step := 1; step <= 6; step++ {
		if step == 5 {
			_, err := s.WriteShared(4, m.shared())
			must(t, err)
			must(t, os.Remove(filepath.Join(s.Path(4), manifestFile)))
		}
		must(t, save(s, m, step, step == 2))
		if step == 5 && steps() != "[5 3 2]" {
			t.Errorf("kept %s, of which 4 was not finished", steps())
		}
	}
	must(t, os.Mkdir(s.Path(9)+".copy", 0o755)) // a user's
	if got := steps(); got != "[6 5 2]" {
		t.Errorf("kept %s", got)
	}
	must(t, s.MarkBest(5))
	must(t, save(s, m, 7, false))
	must(t, save(s, m, 8, false))
	if got := steps(); got != "[8 7 5]" {
		t.Errorf("kept %s", got)
	}
	s.keep = 1
	must(t, save(s, m, 6, false))
	if got := steps(); got != "[6 5]" {
		t.Errorf("kept %s, having gone back to 6", got)
	}
	must(t, save(s, m, 7, true))
	if got := steps(); got != "[7]" {
		t.Errorf("kept %s, of which 7 is the last one and the best", got)
	}
}

// Fails if a part that rank 0 cannot see, or sees with another length, makes a checkpoint.
func TestOnlyVisiblePartsAreCommitted(t *testing.T) {
	s, m := Open(t.TempDir(), 1, false), newMemory(1)
	f, err := s.WriteShared(3, m.shared())
	must(t, err)
	for want, parts := range map[string][]File{
		"must write to the same file system": {f, s.RankFile(0, 8, 1)},
		"and its rank wrote":                 {{Name: f.Name, Bytes: f.Bytes + 1}},
	} {
		if err := s.Commit(Manifest{Step: 3, Parts: parts, Run: []byte("{}")}, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if s.Finished(3) {
		t.Error("it has a manifest")
	}
}
