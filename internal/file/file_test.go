package file

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Fails if a failed write changes the previous contents, or part of the new contents is visible under the name.
func TestFilesAreWrittenCompletelyOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	broken := errors.New("broken")
	for _, c := range []struct {
		text, want string
		err        error
	}{{"", "", broken}, {"first", "first", nil}, {"second", "first", broken}, {"third", "third", nil}} {
		err := Write(path, func(w io.Writer) error {
			_, err := io.WriteString(w, c.text)
			return errors.Join(err, c.err)
		})
		if !errors.Is(err, c.err) {
			t.Errorf("%q: %v", c.text, err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("after %q: %q, want %q", c.text, got, c.want)
		}
		if left, _ := filepath.Glob(path + ".*"); left != nil {
			t.Errorf("after %q: %v is left", c.text, left)
		}
	}
}

// Fails if the name of a temporary file is predictable, or an existing file is opened.
func TestTemporaryFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, precious := filepath.Join(dir, "x.png"), filepath.Join(dir, "precious")
	must(t, os.WriteFile(precious, []byte("kept"), 0o644))
	must(t, os.Symlink(precious, path+".tmp"))
	must(t, WriteBytes(path, []byte("new")))
	must(t, Link("elsewhere", filepath.Join(dir, "link"), func() {}))
	if got, _ := os.ReadFile(precious); string(got) != "kept" {
		t.Errorf("what a link of the temporary name leads to is %q", got)
	}
	names := map[string]bool{}
	for range 4 {
		f, err := Temporary(path)
		must(t, err)
		must(t, f.Close())
		names[f.Name()] = true
	}
	if len(names) != 4 {
		t.Errorf("4 temporary files have %d names", len(names))
	}
	must(t, RemoveTemporaries(dir))
	if left, _ := filepath.Glob(path + ".*"); len(left) != 1 || left[0] != path+".tmp" {
		t.Errorf("%v is left, want the link alone, which is no writer's", left)
	}
}

// Fails if anything but a regular file is opened, waited for, or replaced.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	must(t, syscall.Mkfifo(fifo, 0o644))
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	for path, kind := range map[string]string{fifo: "a FIFO", socket: "a socket", "/dev/zero": "a device", dir: "a folder"} {
		done := make(chan error, 1)
		go func() {
			_, err := Read(path, 10)
			done <- err
		}()
		select {
		case err = <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: reading waits", kind)
		}
		if !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), kind) || !strings.Contains(err.Error(), path) {
			t.Errorf("reading %s: %v", kind, err)
		}
		if err := WriteBytes(path, nil); !errors.Is(err, ErrNotRegular) {
			t.Errorf("writing to %s: %v", kind, err)
		}
		if _, err := OpenOwn(path, os.O_RDWR|os.O_CREATE); !errors.Is(err, ErrNotRegular) {
			t.Errorf("opening %s as one's own: %v", kind, err)
		}
	}
}

func TestOwnFilesAreNotLinks(t *testing.T) {
	dir := t.TempDir()
	precious, link := filepath.Join(dir, "precious"), filepath.Join(dir, "link")
	must(t, os.WriteFile(precious, []byte("kept"), 0o644))
	must(t, os.Symlink(precious, link))
	if _, err := OpenOwn(link, os.O_RDWR|os.O_CREATE); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a link: %v", err)
	}
	must(t, os.Remove(link))
	f, err := OpenOwn(link, os.O_RDWR|os.O_CREATE)
	must(t, err)
	must(t, f.Close())
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("0123456789"), 0o644))
	if text, err := Read(path, 10); err != nil || string(text) != "0123456789" {
		t.Errorf("10 of 10 bytes: %q, %v", text, err)
	}
	if _, err := Read(path, 9); !errors.Is(err, ErrTooLarge) {
		t.Errorf("9 of 10 bytes: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
