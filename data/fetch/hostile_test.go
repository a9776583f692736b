package fetch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/internal/file"

	"golang.org/x/sys/unix"
)

// Fails if a download is written through a link, or into or over anything but a regular file, or if it waits for a FIFO.
func TestRegularFilesAlone(t *testing.T) {
	url, ranges := server(t, whole)
	kinds := map[string]func(name string) error{
		"it is a FIFO":   func(name string) error { return syscall.Mkfifo(name, 0o644) },
		"it is a folder": func(name string) error { return os.Mkdir(name, 0o755) },
		"it is a socket": func(name string) error { return syscall.Mknod(name, syscall.S_IFSOCK|0o644, 0) },
		"it is a device": func(name string) error { return os.Symlink("/dev/null", name) },
	}
	for _, name := range []string{"images.bin", "images.bin.part"} {
		for kind, create := range kinds {
			dir := t.TempDir()
			if err := create(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			done := started(func() error { _, err := quick.Fetch(setOf(url), dir); return err })
			select {
			case err := <-done:
				if !errors.Is(err, file.ErrNotRegular) || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), kind) && name == "images.bin" {
					t.Errorf("%s, %s: %v", name, kind, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s, %s: it waits", name, kind)
			}
		}
	}
	dir := t.TempDir()
	precious, part := filepath.Join(t.TempDir(), "precious"), filepath.Join(dir, "images.bin.part")
	if err := errors.Join(os.WriteFile(precious, []byte("kept"), 0o644), os.Symlink(precious, part)); err != nil {
		t.Fatal(err)
	}
	if _, err := quick.Fetch(setOf(url), dir); !errors.Is(err, file.ErrNotRegular) || !strings.Contains(err.Error(), "it is a symbolic link") {
		t.Errorf("a link: %v", err)
	}
	if got, _ := os.ReadFile(precious); string(got) != "kept" {
		t.Errorf("what a link leads to has %d bytes", len(got))
	}
	if len(*ranges) != 0 {
		t.Errorf("asked for %q", *ranges)
	}
}

func started(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// Fails if two processes write one file.
func TestOneDownloadAtATime(t *testing.T) {
	url, _ := server(t, whole)
	dir := t.TempDir()
	part, err := os.Create(filepath.Join(dir, "images.bin.part"))
	if err == nil {
		err = unix.Flock(int(part.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quick.Fetch(setOf(url), dir); err == nil || !strings.Contains(err.Error(), "another process is downloading into it") {
		t.Errorf("while another has it: %v", err)
	}
	part.Close()
	path, err := quick.Fetch(setOf(url), dir)
	check(t, dir, path, err)
}
