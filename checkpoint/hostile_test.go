package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// writeManifest writes the text of a manifest with a correct checksum.
func writeManifest(t *testing.T, s *Store, step int, body string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.Path(step), manifestFile), []byte(body+trailer+checksum([]byte(body))+trailerEnd), 0o644))
}

// invalid checks that a checkpoint is refused, by reading and by Verify, with a short error that names the file.
func invalid(t *testing.T, s *Store, step int, what, file, want string) {
	t.Helper()
	_, err := load(s, step)
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), want) || len(err.Error()) > 2000 {
		t.Errorf("%s: %.300v, want %s and %q", what, err, file, want)
	}
	if all, err := Verify(s.Path(step)); err != nil || len(all) != 1 || all[0].Valid() {
		t.Errorf("%s: %v, %.300v", what, err, all)
	}
}

// Fails if an impossible manifest with a correct checksum is accepted, or its values make the reader allocate memory.
func TestInvalidManifestsAreRefused(t *testing.T) {
	s := Open(t.TempDir(), 1, false)
	must(t, save(s, newMemory(1), 7, false))
	whole, err := os.ReadFile(filepath.Join(s.Path(7), manifestFile))
	must(t, err)
	body := string(whole[:len(whole)-trailerLen])
	replaced := func(old, new string) string {
		if !strings.Contains(body, old) {
			t.Fatalf("no %s in %s", old, body)
		}
		return strings.Replace(body, old, new, 1)
	}
	man, err := s.Read(7)
	must(t, err)
	parts := func(change func(p []File) []File) string {
		m := man
		m.Parts = change(append([]File(nil), man.Parts...))
		text, err := json.MarshalIndent(m, "", "  ")
		must(t, err)
		return strings.TrimSuffix(string(text), "\n}") + ",\n"
	}
	renamed := func(i int, name string) string {
		return parts(func(p []File) []File { p[i].Name = name; return p })
	}
	sized := func(bytes int64) string {
		return parts(func(p []File) []File { p[1].Bytes = bytes; return p })
	}
	for what, c := range map[string]struct{ body, want string }{
		"no rank":           {replaced(`"ranks": 2`, `"ranks": 0`), "0 ranks and 3 parts"},
		"negative ranks":    {replaced(`"ranks": 2`, `"ranks": -1`), "-1 ranks"},
		"1 rank":            {replaced(`"ranks": 2`, `"ranks": 1`), "1 ranks and 3 parts"},
		"2^40 ranks":        {replaced(`"ranks": 2`, `"ranks": 1099511627776`), "1099511627776 ranks and 3 parts"},
		"2^63-1 ranks":      {replaced(`"ranks": 2`, `"ranks": 9223372036854775807`), "ranks and 3 parts"},
		"2^64 ranks":        {replaced(`"ranks": 2`, `"ranks": 18446744073709551616`), "cannot unmarshal"},
		"many digits":       {replaced(`"ranks": 2`, `"ranks": `+strings.Repeat("9", 1<<20)), "cannot unmarshal"},
		"negative step":     {replaced(`"step": 7`, `"step": -7`), "step -7"},
		"huge step":         {replaced(`"step": 7`, `"step": 9223372036854775807`), "step 9223372036854775807"},
		"another step":      {replaced(`"step": 7`, `"step": 8`), "says that it is of step 8"},
		"no parts":          {parts(func([]File) []File { return nil }), "2 ranks and 0 parts"},
		"no parts or ranks": {strings.Replace(parts(func([]File) []File { return nil }), `"ranks": 2`, `"ranks": -1`, 1), "-1 ranks and 0 parts"},
		"a part missing":    {parts(func(p []File) []File { return p[:2] }), "2 ranks and 2 parts"},
		"a part twice":      {parts(func(p []File) []File { return append(p[:2], p[1]) }), `part 2 is called "rank-00000.safetensors"`},
		"parts exchanged":   {parts(func(p []File) []File { p[0], p[1] = p[1], p[0]; return p }), `part 0 is called "rank-00000.safetensors"`},
		"a part elsewhere":  {renamed(0, "../step-000000007/shared.safetensors"), `part 0 is called`},
		"an absolute part":  {renamed(1, "/etc/passwd"), `part 1 is called "/etc/passwd"`},
		"a part, no name":   {renamed(1, ""), `part 1 is called ""`},
		"another ending":    {renamed(1, "rank-00000.safetensors/../../x"), `part 1 is called`},
		"a long name":       {renamed(1, strings.Repeat("x", 1<<20)), `part 1 is called`},
		"negative size":     {sized(-1), "has -1 bytes"},
		"no size":           {sized(0), "has 0 bytes"},
		"huge size":         {sized(1 << 48), fmt.Sprintf("and %d were written", int64(1<<48))},
		"largest size":      {sized(1<<63 - 1), "has 9223372036854775807 bytes"},
		"no checksum":       {parts(func(p []File) []File { p[1].XXH64 = ""; return p }), `the checksum ""`},
		"a long checksum":   {parts(func(p []File) []File { p[1].XXH64 = strings.Repeat("0", 1<<20); return p }), `the checksum "0`},
		"deep JSON":         {replaced(`"merges": 3`, `"merges": `+strings.Repeat("[", 1<<20)), "exceeded max depth"},
		"a list":            {"[\n", "manifest.json"},
		"many parts": {parts(func(p []File) []File {
			for range 50_000 {
				p = append(p, p[1])
			}
			return p
		}), "2 ranks and 50003 parts"},
		"many parts and ranks": {strings.Replace(parts(func(p []File) []File {
			for range 50_000 {
				p = append(p, p[1])
			}
			return p
		}), `"ranks": 2`, `"ranks": 50002`, 1), `part 3 is called`},
		"year 99999": {replaced(`"created": "`, `"created": "9`), "cannot parse"},
	} {
		writeManifest(t, s, 7, c.body)
		invalid(t, s, 7, what, "", c.want)
	}
	must(t, os.Truncate(filepath.Join(s.Path(7), manifestFile), 1<<40)) // sparse
	invalid(t, s, 7, "a large manifest", manifestFile, "too large")
}

// part joins a header and data to the bytes of a part.
func part(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func compressed(t *testing.T, raw []byte, options ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, options...)
	must(t, err)
	defer z.Close()
	return z.EncodeAll(raw, nil)
}

// Fails if an impossible part, all checksums of which are correct, is accepted, or its values make the reader allocate memory.
func TestInvalidPartsAreRefused(t *testing.T) {
	sum := checksum(make([]byte, 8))
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"__metadata__":{"xxh64 x":%q},"x":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, sum, dtype, shape, offsets)
	}
	two := func(a, b string) string {
		return fmt.Sprintf(`{"__metadata__":{"xxh64 x":%q,"xxh64 y":%q},"x":{"dtype":"U8","shape":[8],"data_offsets":%s},"y":{"dtype":"U8","shape":[8],"data_offsets":%s}}`, sum, sum, a, b)
	}
	eight := make([]byte, 8)
	zeros := func(n int) string {
		return fmt.Sprintf(`{"__metadata__":{"xxh64 x":%q},"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, checksum(make([]byte, n)), n, n)
	}
	stores := map[bool]*Store{false: Open(t.TempDir(), 1, false), true: Open(t.TempDir(), 1, true)}
	for _, s := range stores {
		must(t, save(s, newMemory(1), 7, false))
	}
	const bomb = 1 << 26
	for what, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":              {[]byte{1}, "header"},
		"a giant header":       {binary.LittleEndian.AppendUint64(nil, 1<<63), "its header has 9223372036854775808 bytes"},
		"a long header":        {binary.LittleEndian.AppendUint64(nil, maxHeader+1), "its header has 16777217 bytes"},
		"a header beyond":      {binary.LittleEndian.AppendUint64(nil, 1000), "header"},
		"no JSON":              {part("{", nil), "header"},
		"a number":             {part("3", nil), "header"},
		"deep JSON":            {part(`{"x":`+strings.Repeat("[", 1<<20), nil), "header"},
		"deep objects":         {part(`{"x":`+strings.Repeat(`{"y":`, 1<<18), nil), "header"},
		"another type":         {part(one("F99", "[8]", "[0,8]"), eight), "F99"},
		"a long type":          {part(one(strings.Repeat("F", 1<<20), "[8]", "[0,8]"), eight), "FFF"},
		"a shape of text":      {part(one("U8", `"`+strings.Repeat("s", 1<<20)+`"`, "[0,8]"), eight), "shape"},
		"many dimensions":      {part(one("U8", `[8`+strings.Repeat(",1", 1<<18)+`,2]`, "[0,8]"), eight), "and its shape 16"},
		"a negative shape":     {part(one("U8", "[-8]", "[0,8]"), eight), "shape"},
		"an overflowing shape": {part(one("F64", "[2305843009213693953]", "[0,8]"), eight), "and its shape 18446744073709551615"},
		"a product that wraps": {part(one("U8", "[4294967296,4294967296,8]", "[0,8]"), eight), "and its shape 18446744073709551615"},
		"another length":       {part(one("U8", "[7]", "[0,8]"), eight), "it has 8 bytes, and its shape 7"},
		"negative offsets":     {part(one("U8", "[8]", "[-8,0]"), eight), "data_offsets"},
		"offsets backwards":    {part(one("U8", "[8]", "[8,0]"), eight), "data_offsets [8 0]"},
		"offsets beyond":       {part(one("U8", "[800]", "[0,800]"), eight), "its header lists"},
		"largest offsets":      {part(one("U8", "[18446744073709551615]", "[0,18446744073709551615]"), eight), "data_offsets"},
		"a fraction":           {part(one("U8", "[8]", "[0,8.5]"), eight), "data_offsets"},
		"three offsets":        {part(one("U8", "[8]", "[0,8,8]"), eight), "data_offsets"},
		"overlapping":          {part(two("[0,8]", "[0,8]"), eight), "begins at byte 0: expected 8"},
		"half overlapping":     {part(two("[0,8]", "[4,12]"), make([]byte, 12)), "begins at byte 4: expected 8"},
		"a gap":                {part(two("[0,8]", "[16,24]"), make([]byte, 24)), "begins at byte 16: expected 8"},
		"bytes behind":         {part(one("U8", "[8]", "[0,8]"), make([]byte, 9)), "its header lists"},
		"a name of its own":    {part(strings.Replace(one("U8", "[8]", "[0,8]"), `"x":{`, `"`+strings.Repeat("n", 1<<20)+`":{`, 1), eight), "the name of a tensor has 1048576 bytes"},
		"no name":              {part(strings.Replace(one("U8", "[8]", "[0,8]"), `"x":{`, `"":{`, 1), eight), "the name of a tensor has 0 bytes"},
		"no checksum":          {part(strings.Replace(one("U8", "[8]", "[0,8]"), "xxh64 x", "xxh64 y", 1), eight), `tensor "x" is damaged`},
		"a long checksum":      {part(strings.Replace(one("U8", "[8]", "[0,8]"), sum, strings.Repeat("0", 1<<20), 1), eight), `tensor "x" is damaged`},

		"zstd: no stream":        {compressed(t, part(one("U8", "[8]", "[0,8]"), eight))[:9], "header"},
		"zstd: rubbish":          {part(one("U8", "[8]", "[0,8]"), eight), "header"},
		"zstd: a giant header":   {compressed(t, binary.LittleEndian.AppendUint64(nil, 1<<63)), "its header has 9223372036854775808 bytes"},
		"zstd: behind it":        {append(compressed(t, part(one("U8", "[8]", "[0,8]"), eight)), "rubbish"...), "zst"},
		"zstd: more frames":      {slices.Concat(compressed(t, part(one("U8", "[8]", "[0,8]"), eight)), compressed(t, make([]byte, bomb))), "more bytes than its tensors"},
		"zstd: a bomb behind":    {compressed(t, part(one("U8", "[8]", "[0,8]"), make([]byte, bomb))), "more bytes than its tensors"},
		"zstd: a bomb":           {compressed(t, part(zeros(bomb), make([]byte, bomb))), "its header lists"},
		"zstd: an announced one": {compressed(t, part(zeros(1<<24), nil)), "unexpected EOF"},
		"zstd: a large window":   {compressed(t, make([]byte, 1<<27), zstd.WithWindowSize(1<<27)), "exceeds configured limit"},
	} {
		s := stores[strings.HasPrefix(what, "zstd")]
		m, err := s.Read(7)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(s.Path(7), m.Parts[0].Name), c.raw, 0o644))
		m.Parts[0].Bytes, m.Parts[0].XXH64 = int64(len(c.raw)), checksum(c.raw)
		must(t, m.write(s.Path(7)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		invalid(t, s, 7, what, m.Parts[0].Name, c.want)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 3<<24 {
			t.Errorf("%s: %d bytes were allocated", what, took)
		}
	}
}

// Fails if the reader waits for a file that is not regular, or reads it forever.
func TestCheckpointReadsRegularFilesOnly(t *testing.T) {
	for _, name := range []string{manifestFile, "shared.safetensors", "rank-00001.safetensors"} {
		s := Open(t.TempDir(), 1, false)
		must(t, save(s, newMemory(1), 7, false))
		for kind, put := range map[string]func(path string) error{
			"FIFO":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
			"device": func(path string) error { return os.Symlink("/dev/zero", path) },
			"folder": func(path string) error { return os.Mkdir(path, 0o755) },
			"loop":   func(path string) error { return os.Symlink(path, path) },
		} {
			must(t, os.Remove(filepath.Join(s.Path(7), name)))
			must(t, put(filepath.Join(s.Path(7), name)))
			done := make(chan struct{})
			go func() { defer close(done); invalid(t, s, 7, kind, name, "") }()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: reading waits", kind)
			}
		}
	}
}

// Fails if a checkpoint is written or removed where a link points, or through a link with a temporary name.
func TestCheckpointsFollowNoLink(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, manifestFile)
	for _, name := range []string{precious, filepath.Join(outside, "notes.tmp")} {
		must(t, os.WriteFile(name, []byte("kept"), 0o644))
	}
	s, m := Open(t.TempDir(), 1, false), newMemory(1)
	must(t, save(s, m, 5, false))
	for link, to := range map[string]string{s.Path(6): outside, filepath.Join(s.dir, "latest.tmp"): precious, filepath.Join(s.Path(5), "shared.safetensors.tmp"): precious} {
		must(t, os.Symlink(to, link))
	}
	if _, err := s.WriteShared(6, m.shared()); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("written to a link: %v", err)
	}
	if steps, err := s.Steps(); err != nil || fmt.Sprint(steps) != "[5]" {
		t.Errorf("steps %v, %v", steps, err)
	}
	must(t, save(s, m, 5, true))
	must(t, save(s, m, 7, true))
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 2 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "kept" {
		t.Errorf("outside: %q, %v", text, err)
	}
}

// Fails if a folder with an impossible step in its name makes reading fail, or is removed.
func TestFoldersOfNoStepAreIgnored(t *testing.T) {
	s := Open(t.TempDir(), 1, false)
	must(t, save(s, newMemory(1), 7, false))
	for _, name := range []string{"step--00000001", "step-9223372036854775807", "step-9223372036854775808", "step-7", "step-+00000007", "step-000000007\n", "\x1b[2J"} {
		must(t, os.MkdirAll(filepath.Join(s.dir, name), 0o755))
	}
	must(t, save(s, newMemory(2), 8, false))
	if steps, err := s.Steps(); err != nil || fmt.Sprint(steps) != "[8]" {
		t.Errorf("steps %v, %v", steps, err)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 9 {
		t.Errorf("%v, %v", entries, err)
	}
}

// Fails if verification needs memory in proportion to the part.
func TestVerificationNeedsConstantMemory(t *testing.T) {
	for _, compress := range []bool{false, true} {
		s := Open(t.TempDir(), 1, compress)
		large := make([]float32, 1<<24)
		for i := range large {
			large[i] = float32(i * i % 4099)
		}
		f, err := s.WriteShared(1, []Tensor{Floats("large", large)})
		must(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := readPart(s.Path(1), f)
		must(t, err)
		back := make([]float32, len(large))
		if p.Restore([]Tensor{Floats("large", back)}) != nil || back[4321] != large[4321] {
			t.Error("it is not read back")
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 4*uint64(len(large))+1<<25 {
			t.Errorf("zstd %t: %d bytes were allocated", compress, took)
		}
	}
}
