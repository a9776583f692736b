package source

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Fails if a version is removed from a name, if an extension remains, or on paths without a name.
func TestSetNameIsDerivedFromThePath(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"set-1.5", "b.tar"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range [][2]string{
		{"/a/cifar10-images.tar.zst", "cifar10-images"}, {"x/set.v1.2.tgz", "set.v1.2"}, {"pets.TAR.GZ", "pets"}, {"pets.zip", "pets"},
		{"/a/pets", "pets"}, {"/a/.tar", ".tar"}, {root + "/set-1.5/", "set-1.5"}, {root + "/b.tar", "b.tar"}, {root + "/set-1.5/..", filepath.Base(root)},
		{"/", "root"},
	} {
		if got := setName(k[0]); got != k[1] {
			t.Errorf("%s: %q, want %q", k[0], got, k[1])
		}
	}
}

// Fails if leading zeros, nested lists or the text after a brace are lost.
func TestBracesExpandLikeAShell(t *testing.T) {
	for pattern, want := range map[string][]string{
		"a.tar":                         {"a.tar"},
		"{8..11}":                       {"8", "9", "10", "11"},
		"x-{08..11}.tar":                {"x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"},
		"{a,b}{0..1}":                   {"a0", "a1", "b0", "b1"},
		"s/{train-{00..01},val-0}.tar":  {"s/train-00.tar", "s/train-01.tar", "s/val-0.tar"},
		"{a,{b,c}d,}":                   {"a", "bd", "cd", ""},
		"{0..0}":                        {"0"},
		"train-{000098..000101}.tar.gz": {"train-000098.tar.gz", "train-000099.tar.gz", "train-000100.tar.gz", "train-000101.tar.gz"},
	} {
		if got, err := braces(pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", pattern, got, err, want)
		}
	}
}

// Fails if a split is found inside another word, or if a folder's name takes precedence over the file's.
func TestSplitIsDerivedFromTheName(t *testing.T) {
	for name, want := range map[string]string{
		"imagenet-train-000000.tar": "train", "imagenet1k-validation-00.tar": "val", "val/0.tar": "val", "VALID_0.tar": "valid", "test/train-0.tar": "train",
		"carnival/0.tar": "", "latest-0.tar": "", "trainer.tar": "", "train/deep/0.tar": "", "/data/train/0.tar": "train",
	} {
		if got := splitOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
