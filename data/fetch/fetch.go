// Package fetch downloads public data sets from their official addresses. A file is downloaded under a temporary name, interrupted
// downloads are resumed, and the file is renamed when its checksum is correct.
package fetch

import (
	"cmp"
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
	"strconv"
	"time"

	"lte/internal/file"

	"golang.org/x/sys/unix"
)

// Fetcher holds the options of a download. The zero Fetcher is ready for use.
type Fetcher struct {
	Client *http.Client // nil: http.DefaultClient
	// Progress is called with the downloaded and the total bytes of a file (0: unknown), at least at its beginning and end.
	Progress func(file string, done, total int64)
	Pause    time.Duration // before retrying an interrupted connection, doubled for each retry; 0: a second
	Stall    time.Duration // time without data after which a connection counts as interrupted; 0: a minute
}

// tries is the number of consecutive connections without progress before a download fails.
const tries = 5

// partSuffix ends the name of an incomplete file.
const partSuffix = ".part"

// Fetch downloads the missing files of a set into dir, which it creates, and returns the path of the set: that of its only file, or dir.
// Errors say which file, and what to do.
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

// checksum returns the hash and its expected value.
func (f File) checksum() (hash.Hash, string) {
	if f.SHA256 != "" {
		return sha256.New(), f.SHA256
	}
	return md5.New(), f.MD5
}

// file downloads one file unless it exists.
func (f Fetcher) file(of File, dir string) error {
	name := filepath.Join(dir, of.name())
	sum, want := of.checksum()
	existing, err := file.Open(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		defer existing.Close()
		if _, err := io.Copy(sum, existing); err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			return fmt.Errorf("%s exists, but its checksum is %s, expected %s: remove it, and fetch it again", name, got, want)
		}
		f.progress(of, of.Size, of.Size)
		return nil
	}
	part, err := file.OpenOwn(name+partSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer part.Close()
	if err := unix.Flock(int(part.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: another process is downloading into it: wait until it ends, or choose another folder", part.Name())
	}
	d := &download{Fetcher: f, of: of, part: part, sum: sum}
	if d.done, err = io.Copy(sum, part); err != nil { // what an earlier download left
		return err
	}
	if err := d.complete(); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		os.Remove(part.Name()) // which of its bytes are wrong is unknown
		return fmt.Errorf("its checksum is %s, expected %s; the download was removed: fetch it again, and if that does not help, the publisher changed the file",
			got, want)
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), name)
}

func (f Fetcher) progress(of File, done, total int64) {
	if f.Progress != nil {
		f.Progress(of.name(), done, total)
	}
}

// download is a file being downloaded.
type download struct {
	Fetcher
	of   File
	part *os.File  // positioned at done
	sum  hash.Hash // of the bytes in part
	done int64     // bytes in part
	all  int64     // bytes of the complete file; 0: unknown
}

// complete requests the rest of the file until it is complete.
func (d *download) complete() error {
	d.all = d.of.Size
	pause := cmp.Or(d.Pause, time.Second)
	if d.all > 0 && d.done > d.all { // left by another file
		if err := d.restart(); err != nil {
			return err
		}
	}
	furthest := d.done
	for failures := 0; ; {
		end, err := d.request()
		if err != nil && !errors.As(err, new(*interrupted)) {
			return err
		}
		if d.all > 0 && d.done > d.all {
			os.Remove(d.part.Name())
			return fmt.Errorf("it is longer than the %d bytes expected: the publisher changed the file", d.all)
		}
		if err == nil && end {
			return nil
		}
		if failures++; d.done > furthest {
			failures, furthest = 0, d.done
		}
		if failures >= tries {
			return fmt.Errorf("%w, %d times in a row, at byte %d; the first bytes are kept in %s: fetch again later to resume", err, tries, d.done, d.part.Name())
		}
		time.Sleep(pause << failures)
	}
}

// interrupted is the error of a connection that may be retried.
type interrupted struct{ error }

// restart truncates the file to nothing.
func (d *download) restart() error {
	d.sum.Reset()
	d.done = 0
	if err := d.part.Truncate(0); err != nil {
		return err
	}
	_, err := d.part.Seek(0, io.SeekStart)
	return err
}

// request downloads from byte done on; end reports that the server has no more bytes.
func (d *download) request() (end bool, err error) {
	d.progress(d.of, d.done, d.all)
	if d.all > 0 && d.done == d.all {
		return true, nil
	}
	stall := cmp.Or(d.Stall, time.Minute)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no data for %v", stall)) })
	defer watch.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.of.URL, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept-Encoding", "identity") // no compression in transit
	if d.done > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.done))
	}
	answer, err := cmp.Or(d.Client, http.DefaultClient).Do(r)
	if err != nil {
		return false, &interrupted{err}
	}
	defer answer.Body.Close()
	if err := d.checkResponse(answer); err != nil {
		return false, err
	}
	buffer := make([]byte, 1<<18)
	for {
		n, err := answer.Body.Read(buffer)
		watch.Reset(stall)
		if _, err := d.part.Write(buffer[:n]); err != nil {
			return false, err
		}
		d.sum.Write(buffer[:n])
		d.done += int64(n)
		d.progress(d.of, d.done, d.all)
		switch {
		case err == io.EOF && d.all > 0 && d.done < d.all:
			return false, &interrupted{fmt.Errorf("the connection was cut at byte %d of %d", d.done, d.all)}
		case err == io.EOF:
			return true, nil
		case err != nil:
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return false, &interrupted{fmt.Errorf("the connection was cut: %w", err)}
		case d.all > 0 && d.done > d.all:
			return true, nil
		}
	}
}

// checkResponse checks at which byte a response begins, and sets the length of the file.
func (d *download) checkResponse(answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusOK: // from the beginning: not all servers support ranges
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
		if n, err := strconv.ParseInt(all, 10, 64); err == nil && d.all == 0 { // "*" where it is unknown
			d.all = n
		}
	case http.StatusRequestedRangeNotSatisfiable: // no byte from there on: the file is complete, or another one
		if d.all == 0 {
			d.all = d.done
		} else if err := d.restart(); err != nil {
			return err
		}
		return &interrupted{fmt.Errorf("the server answered %s", answer.Status)}
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &interrupted{fmt.Errorf("the server answered %s", answer.Status)}
	default:
		return fmt.Errorf("the server answered %s: try again later, or download it with a browser into the same folder", answer.Status)
	}
	return nil
}
