package fetch

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// content is the file that the server has, about 300 kB without repetition.
var content = func() []byte {
	var b strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&b, "%d ", i*i)
	}
	return []byte(b.String())
}()

// server serves content by serve, and counts the ranges that were asked for.
func server(t *testing.T, serve func(w http.ResponseWriter, r *http.Request)) (url string, ranges *[]string) {
	ranges = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*ranges = append(*ranges, r.Header.Get("Range"))
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/set/images.bin", ranges
}

// whole serves content completely, or a range of it.
func whole(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "images.bin", time.Time{}, strings.NewReader(string(content)))
}

// cutAfter sends n bytes of what whole sends, and cuts the connection.
func cutAfter(n int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) { whole(&short{w, n}, r) }
}

type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	n := min(len(p), s.left)
	s.ResponseWriter.Write(p[:n])
	if s.left -= n; s.left == 0 {
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func setOf(url string) Set {
	sum := sha256.Sum256(content)
	return Set{Files: []File{{URL: url, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}}}
}

var quick = Fetcher{Pause: time.Microsecond}

// check expects the complete file under its own name, and no other file.
func check(t *testing.T, dir, path string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != string(content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// refused expects an error with these words, no file of the final name, and so many bytes under the temporary one (-1: no such file).
func refused(t *testing.T, dir string, err error, part int64, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want one that says %s", err, w)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "images.bin")); err == nil {
		t.Error("a file that is not right has its final name")
	}
	size := int64(-1)
	if info, err := os.Stat(filepath.Join(dir, "images.bin.part")); err == nil {
		size = info.Size()
	}
	if size != part {
		t.Errorf("%d bytes are kept, want %d", size, part)
	}
}

// Fails if a download restarts instead of resuming, or if bytes are doubled or lost where the connection was cut.
func TestResume(t *testing.T) {
	sends := []func(http.ResponseWriter, *http.Request){cutAfter(1000), cutAfter(100000), whole}
	url, ranges := server(t, func(w http.ResponseWriter, r *http.Request) {
		send := sends[0]
		sends = sends[1:]
		send(w, r)
	})
	dir := t.TempDir()
	var last int64
	f := quick
	f.Progress = func(file string, done, total int64) {
		if file != "images.bin" || done < last || total != int64(len(content)) {
			t.Errorf("%s: %d after %d of %d", file, done, last, total)
		}
		last = done
	}
	path, err := f.Fetch(setOf(url), dir)
	check(t, dir, path, err)
	if got := strings.Join(*ranges, " "); got != " bytes=1000- bytes=101000-" {
		t.Errorf("asked for %q", got)
	}
	if last != int64(len(content)) {
		t.Errorf("progress ended at %d", last)
	}
	// An existing file is not requested.
	path, err = quick.Fetch(setOf(url), dir)
	check(t, dir, path, err)
	if len(*ranges) != 3 {
		t.Error("what is there was fetched again")
	}
}

// Fails if the partial file of an earlier download is ignored, or if retries end too early or never.
func TestLaterFetchResumes(t *testing.T) {
	down := true
	url, ranges := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !down:
			whole(w, r)
		case r.Header.Get("Range") == "":
			cutAfter(5000)(w, r)
		default:
			http.Error(w, "later", http.StatusServiceUnavailable)
		}
	})
	dir := t.TempDir()
	_, err := quick.Fetch(setOf(url), dir)
	refused(t, dir, err, 5000, url, "503", "5 times in a row, at byte 5000", "images.bin.part", "fetch again later to resume")
	down = false
	path, err := quick.Fetch(setOf(url), dir)
	check(t, dir, path, err)
	if n := len(*ranges); n != 1+tries+1 || (*ranges)[n-1] != "bytes=5000-" {
		t.Errorf("asked for %q", *ranges)
	}
}

// Fails if the complete file of a server without ranges is appended to a partial one.
func TestServerWithoutRanges(t *testing.T) {
	first := true
	url, ranges := server(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		if first {
			first = false
			cutAfter(7000)(w, r)
		}
		whole(w, r)
	})
	for _, size := range []int64{int64(len(content)), 0} { // by the table or by what the server says
		dir := t.TempDir()
		first = true
		set := setOf(url)
		set.Files[0].Size = size
		path, err := quick.Fetch(set, dir)
		check(t, dir, path, err)
	}
	if (*ranges)[1] != "bytes=7000-" {
		t.Errorf("asked for %q", *ranges)
	}
}

// Fails if a file with a wrong checksum gets the final name, or remains for the next try. MD5 is used where no SHA-256 is known.
func TestWrongChecksumIsAnError(t *testing.T) {
	url, _ := server(t, whole)
	dir := t.TempDir()
	part := filepath.Join(dir, "images.bin.part")
	if err := os.WriteFile(part, []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := quick.Fetch(setOf(url), dir)
	refused(t, dir, err, -1, url, "its checksum is ", "expected "+setOf(url).Files[0].SHA256, "fetch it again")
	path, err := quick.Fetch(setOf(url), dir)
	check(t, dir, path, err)

	if err := os.WriteFile(path, []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = quick.Fetch(setOf(url), dir); err == nil || !strings.Contains(err.Error(), "exists, but its checksum is") {
		t.Errorf("a file with other content: %v", err)
	}

	set, sum := setOf(url), md5.Sum(content)
	set.Files[0].SHA256, set.Files[0].MD5 = "", "00"
	dir = t.TempDir()
	_, err = quick.Fetch(set, dir)
	refused(t, dir, err, -1, "expected 00")
	set.Files[0].MD5 = hex.EncodeToString(sum[:])
	path, err = quick.Fetch(set, dir)
	check(t, dir, path, err)
}

// Fails if a file of a wrong length, a partial file longer than the complete one, or another range than requested is accepted.
func TestWrongSizes(t *testing.T) {
	url, _ := server(t, whole)
	for _, size := range []int64{1000, int64(len(content)) + 1} {
		dir := t.TempDir()
		set := setOf(url)
		set.Files[0].Size = size
		_, err := quick.Fetch(set, dir)
		if size == 1000 {
			refused(t, dir, err, -1, "it is longer than the 1000 bytes expected")
		} else {
			refused(t, dir, err, 0, "5 times in a row") // begun again each time
		}
	}
	for _, size := range []int64{int64(len(content)), 0} {
		dir := t.TempDir()
		set := setOf(url)
		set.Files[0].Size = size
		part := filepath.Join(dir, "images.bin.part")
		if err := os.WriteFile(part, append(content, "more"...), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := quick.Fetch(set, dir); size == 0 && err == nil {
			t.Error("a part that is longer than the whole passes")
		}
		path, err := quick.Fetch(set, dir)
		check(t, dir, path, err)
	}
	url, _ = server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			cutAfter(9000)(w, r)
		}
		r.Header.Set("Range", "bytes=8000-")
		whole(w, r)
	})
	dir := t.TempDir()
	_, err := quick.Fetch(setOf(url), dir)
	refused(t, dir, err, 9000, `the server sent the range "bytes 8000-`, "expected one from byte 9000 on")
}

// Fails if a server that stalls is waited for without end, or if an error page is accepted as the file.
func TestStalledAndMissing(t *testing.T) {
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			whole(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:2000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	dir := t.TempDir()
	f := quick
	f.Stall = 500 * time.Millisecond
	path, err := f.Fetch(setOf(url), dir)
	check(t, dir, path, err)

	url, ranges := server(t, http.NotFound)
	dir = t.TempDir()
	_, err = quick.Fetch(setOf(url), dir)
	refused(t, dir, err, 0, "404 Not Found", "into the same folder")
	if len(*ranges) != 1 {
		t.Error("what is not there was asked for again")
	}
}

// Fails if a file of the table has no checksum, or a set that needs an account no instructions.
func TestTable(t *testing.T) {
	for _, s := range sets {
		_, err := Lookup(s.Name)
		if (err == nil) != (s.HowTo == "") || err != nil && !strings.Contains(err.Error(), s.HowTo) || s.About == "" {
			t.Errorf("%s: %v", s.Name, err)
		}
		for _, f := range s.Files {
			if len(f.SHA256) != 64 && len(f.MD5) != 32 || !strings.HasPrefix(f.URL, "http") || f.Size == 0 && f.MD5 == "" {
				t.Errorf("%s: %+v", s.Name, f)
			}
		}
		if s.HowTo == "" && len(s.Files) == 0 {
			t.Errorf("%s: nothing to fetch", s.Name)
		}
	}
	if _, err := Lookup("cifar"); err == nil || !strings.Contains(err.Error(), `unknown set "cifar": expected one of cifar10, cifar100, mnist`) {
		t.Errorf("error %v", err)
	}
}
