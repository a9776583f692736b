package cli_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lte/internal/session"
)

// classFolders makes two classes of three images in two splits.
func classFolders(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "pets")
	var image8 bytes.Buffer
	if err := png.Encode(&image8, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	for _, class := range []string{"train/cat", "train/dog", "test/cat", "test/dog"} {
		if err := os.MkdirAll(filepath.Join(root, class), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := os.WriteFile(filepath.Join(root, class, fmt.Sprintf("%d.png", i)), image8.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// Fails if a flag of the data commands that is out of range, or an argument that is no folder, is not a usage error that says which,
// what was got and what is allowed.
func TestDataFlags(t *testing.T) {
	set, folder := classFolders(t), t.TempDir()
	file, fifo, packed := filepath.Join(folder, "file"), filepath.Join(folder, "fifo"), filepath.Join(folder, "packed")
	if err := os.WriteFile(file, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"info", "--test-fraction", "nan"}, "--test-fraction must be above 0 and below 1, not NaN"},
		{[]string{"info", "--test-fraction", "inf"}, "--test-fraction must be above 0 and below 1, not +Inf"},
		{[]string{"info", "--test-fraction", "0"}, "--test-fraction must be above 0 and below 1, not 0"},
		{[]string{"info", "--test-fraction", "1"}, "--test-fraction must be above 0 and below 1, not 1"},
		{[]string{"info", "--test-fraction=-0.5"}, "--test-fraction must be above 0 and below 1, not -0.5"},
		{[]string{"info", "--kind", "video"}, `--kind must be one of auto, digits, cifar10, cifar100, stl10, idx, webdataset, folder, packed, not "video"`},
		{[]string{"info", "--kind", "folder"}, "--kind is folder, but there is no path"},
		{[]string{"info", "--kind", "packed"}, "--kind is packed, but there is no path"},
		{[]string{"info", "--kind", "digits", set}, "--kind is digits, which are in the program itself, but the path is"},
		{[]string{"info", "--kind", "cifar10", set}, "no set of data.kind cifar10 found"},
		{[]string{"info", "--classes", file}, "the set (digits) has none"},
		{[]string{"info", "--look=-1"}, "--look must be at least 0, not -1"},
		{[]string{"info", "--look", "10000000000000000000000"}, "--look"},
		{[]string{"info", "--sheet", "/dev/null"}, `--sheet "/dev/null": expected the name of a file`},
		{[]string{"info", "--sheet", fifo}, "expected the name of a file"},
		{[]string{"info", "--sheet", folder}, "expected the name of a file"},
		{[]string{"info", "--sheet", filepath.Join(folder, "none", "x.png")}, "there is no folder"},
		{[]string{"pack", set, packed, "--kind", "video"}, "--kind must be one of"},
		{[]string{"pack", set, packed, "--shard", "4611686018427387904"}, "--shard must be from 1 to 1048576, not 4611686018427387904"},
		{[]string{"pack", set, packed, "--shard", "0"}, "--shard must be from 1 to 1048576, not 0"},
		{[]string{"pack", set, packed, "--workers", "1000000000"}, "--workers must be from 0 to 1024, not 1000000000"},
		{[]string{"pack", set, packed, "--workers=-1"}, "--workers must be from 0 to 1024, not -1"},
		{[]string{"pack", set, packed, "--size", "1099511627776"}, "--size must be from 0 to 65536, not 1099511627776"},
		{[]string{"pack", set, packed, "--size=-1"}, "--size must be from 0 to 65536, not -1"},
		{[]string{"pack", set, packed, "--compression", "lz77"}, `--compression must be raw or zstd, not "lz77"`},
		{[]string{"pack", "", packed, "--kind", "folder"}, "--kind is folder, but there is no path"},
		{[]string{"pack", set, set}, "SRC and DST are the same"},
		{[]string{"pack", set, file}, "expected a folder, or a name that is not taken"},
		{[]string{"pack", set, fifo}, "expected a folder, or a name that is not taken"},
		{[]string{"pack", set, "/dev/null"}, "expected a folder, or a name that is not taken"},
		{[]string{"fetch", "video"}, `unknown set "video": expected one of cifar10, `},
		{[]string{"fetch", "cifar10", file}, "expected a folder, or a name that is not taken"},
		{[]string{"fetch", "cifar10", filepath.Join(file, "below")}, "expected a folder, or a name that is not taken"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"data"}, c.args...), &stdout, &stderr); code != session.ExitUsage || !strings.Contains(stderr.String(), c.says) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("lte data %v: exit code %d, %q, want %d and a line that says %s", c.args, code, stderr.String(), session.ExitUsage, c.says)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 2 {
		t.Errorf("written: %v, %v", left, err)
	}
	if got, _ := os.ReadFile(file); string(got) != "kept" {
		t.Errorf("the file is %q", got)
	}
}

// Fails if a contact sheet is written through a link, whether of its name or of one that a temporary file might have.
func TestSheetFollowsNoLink(t *testing.T) {
	folder := t.TempDir()
	precious, sheet := filepath.Join(folder, "precious"), filepath.Join(folder, "x.png")
	if err := os.WriteFile(precious, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{sheet, sheet + ".tmp"} {
		if err := os.Symlink(precious, link); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"data", "info", "--sheet", sheet}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	if got, _ := os.ReadFile(precious); string(got) != "kept" {
		t.Errorf("what the link leads to has %d bytes", len(got))
	}
	if got, _ := os.ReadFile(sheet); !bytes.HasPrefix(got, []byte("\x89PNG")) {
		t.Errorf("the sheet has %d bytes", len(got))
	}
}

// Fails if the names of images that cannot be read reach a terminal as they are, or their list becomes one line.
func TestUnreadableImagesAreListed(t *testing.T) {
	set, packed := classFolders(t), filepath.Join(t.TempDir(), "packed")
	for _, name := range []string{"a\nlte: all is well.png", "b\x1b[2J.png"} {
		if err := os.WriteFile(filepath.Join(set, "train/cat", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"pack", set, packed, "--quiet"}, {"pack", set, packed, "--quiet", "--skip-unreadable"}, {"info", set}} {
		var out bytes.Buffer
		run(append([]string{"data"}, args...), &out, &out)
		for _, w := range []string{`/a\nlte: all is well.png: an empty file`, `/b\x1b[2J.png: an empty file`} {
			if !strings.Contains(out.String(), w) || strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "\n") < 3 {
				t.Errorf("lte data %v: no %s in\n%q", args, w, out.String())
			}
		}
	}
}
