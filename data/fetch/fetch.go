// Package fetch downloads public data sets from their official addresses. A file grows under a temporary name, goes on
// where it was cut off, and gets its own name only when its checksum is right. What becomes of it is package data's
// business.
package fetch

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"lte/internal/file"

	"golang.org/x/sys/unix"
)

// Fetcher says how files are downloaded. The zero Fetcher will do.
type Fetcher struct {
	Client *http.Client // nil: http.DefaultClient
	// Progress is told how many bytes of a file are there, of how many (0: not known); first and last are told too.
	Progress func(file string, done, total int64)
	Pause    time.Duration // before the first of the tries that follow a cut connection, doubled for each; 0: a second
	Stall    time.Duration // without a byte, after which a connection counts as cut; 0: a minute
}

// tries is how often in a row a connection may end without a byte more.
const tries = 5

// partSuffix marks a file that is not whole.
const partSuffix = ".part"

// Fetch downloads what is missing of a set's files into dir, which it makes, and returns the path of the set: that of its
// only file, or dir. Errors say which file, and what to do.
func (f Fetcher) Fetch(s Set, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	for _, of := range s.Files {
		if err := f.file(of, dir); err != nil {
			return "", fmt.Errorf("%s: %w", of.URL, err)
		}
	}
	if len(s.Files) == 1 {
		return filepath.Join(dir, s.Files[0].name()), nil
	}
	return dir, nil
}

func (f File) name() string { return path.Base(f.URL) }

// checksum returns the hash and what it must come to.
func (f File) checksum() (hash.Hash, string) {
	if f.SHA256 != "" {
		return sha256.New(), f.SHA256
	}
	return md5.New(), f.MD5
}

// file downloads one file, unless it is there.
func (f Fetcher) file(of File, dir string) error {
	name := filepath.Join(dir, of.name())
	sum, want := of.checksum()
	whole, err := file.Open(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		defer whole.Close()
		if _, err := io.Copy(sum, whole); err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			return fmt.Errorf("%s is there already, but its checksum is %s, expected %s: remove it, and fetch it again", name, got, want)
		}
		f.tell(of, of.Size, of.Size)
		return nil
	}
	part, err := file.OpenOwn(name+partSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer part.Close()
	if err := unix.Flock(int(part.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: another process downloads into it: wait for it, or choose another folder", part.Name())
	}
	d := &download{Fetcher: f, of: of, part: part, sum: sum}
	if d.done, err = io.Copy(sum, part); err != nil { // what an earlier fetch left
		return err
	}
	if err := d.complete(); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		os.Remove(part.Name()) // which of its bytes are wrong cannot be known
		return fmt.Errorf("its checksum is %s, expected %s; what came was removed: fetch it again, and if that does not help, the file was changed by those who publish it",
			got, want)
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), name)
}

func (f Fetcher) tell(of File, done, total int64) {
	if f.Progress != nil {
		f.Progress(of.name(), done, total)
	}
}

// download is a file that grows.
type download struct {
	Fetcher
	of   File
	part *os.File  // at done
	sum  hash.Hash // of what is in part
	done int64     // bytes in part
	all  int64     // bytes of the whole; 0: not known
}

// complete asks for the rest of the file until all of it is there.
func (d *download) complete() error {
	d.all = d.of.Size
	pause := d.Pause
	if pause == 0 {
		pause = time.Second
	}
	if d.all > 0 && d.done > d.all { // left by something else
		if err := d.restart(); err != nil {
			return err
		}
	}
	furthest := d.done
	for failures := 0; ; {
		end, err := d.request()
		if err != nil && !errors.As(err, new(*cut)) {
			return err
		}
		if d.all > 0 && d.done > d.all {
			os.Remove(d.part.Name())
			return fmt.Errorf("it is longer than the %d bytes expected: the file was changed by those who publish it", d.all)
		}
		if err == nil && end {
			return nil
		}
		if failures++; d.done > furthest {
			failures, furthest = 0, d.done
		}
		if failures >= tries {
			return fmt.Errorf("%w, %d times in a row, at byte %d; what came stays in %s: fetch again later to go on there", err, tries, d.done, d.part.Name())
		}
		time.Sleep(pause << failures)
	}
}

// cut is a connection that failed and may be tried again.
type cut struct{ error }

// restart empties the file.
func (d *download) restart() error {
	d.sum.Reset()
	d.done = 0
	if err := d.part.Truncate(0); err != nil {
		return err
	}
	_, err := d.part.Seek(0, io.SeekStart)
	return err
}

// request asks for the file from byte done on, and keeps what comes; end says that the server had no more.
func (d *download) request() (end bool, err error) {
	d.tell(d.of, d.done, d.all)
	if d.all > 0 && d.done == d.all {
		return true, nil
	}
	stall := d.Stall
	if stall == 0 {
		stall = time.Minute
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no byte came for %v", stall)) })
	defer watch.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.of.URL, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept-Encoding", "identity") // the file's own bytes
	if d.done > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.done))
	}
	client := d.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return false, &cut{err}
	}
	defer answer.Body.Close()
	if err := d.agree(answer); err != nil {
		return false, err
	}
	room := make([]byte, 1<<18)
	for {
		n, err := answer.Body.Read(room)
		watch.Reset(stall)
		if _, err := d.part.Write(room[:n]); err != nil {
			return false, err
		}
		d.sum.Write(room[:n])
		d.done += int64(n)
		d.tell(d.of, d.done, d.all)
		switch {
		case err == io.EOF && d.all > 0 && d.done < d.all:
			return false, &cut{fmt.Errorf("the connection was cut at byte %d of %d", d.done, d.all)}
		case err == io.EOF:
			return true, nil
		case err != nil:
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return false, &cut{fmt.Errorf("the connection was cut: %w", err)}
		case d.all > 0 && d.done > d.all:
			return true, nil
		}
	}
}

// agree settles from which byte on an answer is, and how long the whole is.
func (d *download) agree(answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusOK: // from the beginning: not all servers know ranges
		if d.done > 0 {
			if err := d.restart(); err != nil {
				return err
			}
		}
		if d.all == 0 && answer.ContentLength > 0 {
			d.all = answer.ContentLength
		}
	case http.StatusPartialContent:
		var from, to int64
		var all string
		said := answer.Header.Get("Content-Range")
		if _, err := fmt.Sscanf(said, "bytes %d-%d/%s", &from, &to, &all); err != nil || from != d.done {
			return fmt.Errorf("the server sent the range %q, expected one from byte %d on", said, d.done)
		}
		if n := int64(0); d.all == 0 && !strings.HasPrefix(all, "*") {
			if _, err := fmt.Sscan(all, &n); err == nil {
				d.all = n
			}
		}
	case http.StatusRequestedRangeNotSatisfiable: // no byte from there on: the whole is there, or something else is
		if d.all == 0 {
			d.all = d.done
		} else if err := d.restart(); err != nil {
			return err
		}
		return &cut{fmt.Errorf("the server answered %s", answer.Status)}
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &cut{fmt.Errorf("the server answered %s", answer.Status)}
	default:
		return fmt.Errorf("the server answered %s: try again later, or download it with a browser into the same folder", answer.Status)
	}
	return nil
}
