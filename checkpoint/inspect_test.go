package checkpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Fails if a damaged part or manifest is reported as valid, or if a path of a run, a checkpoint or a link to one finds another
// checkpoint.
func TestVerifyReportsDamage(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir, 3, true)
	for step := 1; step <= 3; step++ {
		must(t, save(s, newMemory(uint64(step)), step, step == 1))
	}
	must(t, os.Truncate(filepath.Join(s.Path(2), "rank-00001.safetensors.zst"), 10))
	must(t, os.Remove(filepath.Join(s.Path(1), manifestFile)))
	for _, path := range []string{dir, s.dir} {
		all, err := Verify(path)
		must(t, err)
		if len(all) != 3 || !all[0].Valid() || all[1].Valid() || all[2].Valid() {
			t.Fatalf("%s: %+v", path, all)
		}
		if err := all[1].Parts[2].Err; err == nil || !strings.Contains(err.Error(), "has 10 bytes") || all[1].Parts[1].Err != nil {
			t.Errorf("parts of step 2: %+v", all[1].Parts)
		}
		if all[2].Err == nil || strings.Join(all[0].Links, " ") != latest || strings.Join(all[2].Links, " ") != best {
			t.Errorf("%+v", all)
		}
	}
	for _, path := range []string{s.Path(3), filepath.Join(s.dir, latest)} {
		all, err := Verify(path)
		must(t, err)
		if len(all) != 1 || all[0].Manifest.Step != 3 || len(all[0].Parts[0].Tensors) != 4 {
			t.Errorf("%s: %+v", path, all)
		}
	}
	if _, err := Verify(t.TempDir()); err == nil {
		t.Error("an empty folder is no checkpoint")
	}
}
