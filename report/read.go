package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lte/config"
	"lte/internal/file"
	"lte/internal/quote"
	"lte/record"
)

// The most that is read of a run directory: what holds more was not written by this program.
const (
	maxSummary = 16 << 20 // bytes of summary.json
	maxMetrics = 4 << 30  // bytes of metrics.jsonl
	maxLine    = 64 << 10 // bytes of a line of it
	maxRecords = 1 << 20  // of a run
	maxSkipped = 1000     // lines that are not valid
	maxWarned  = 5        // of them, those that are named
)

// Run is what a finished run left in its directory. A number that was not finite reads as NaN.
type Run struct {
	Config  config.Config
	Summary record.Summary // its texts as quote.Text has them
	Records []record.Record
	Skipped []string // lines of metrics.jsonl that are not valid and were left out: where they are, and why
}

// Read reads the directory of a finished run. The error is a fs.ErrNotExist where there is no run, or none that came to its end.
func Read(dir string) (r Run, err error) {
	if r.Summary, err = readSummary(dir); err != nil {
		return r, err
	}
	if r.Records, r.Skipped, err = Records(dir); err != nil {
		return r, err
	}
	r.Config, err = config.Load(ConfigPath(dir), nil)
	return r, err
}

func readSummary(dir string) (s record.Summary, err error) {
	text, err := file.Read(filepath.Join(dir, summaryFile), maxSummary)
	if err == nil {
		err = unmarshal(text, &s)
	}
	if err == nil {
		err = checkSummary(s)
	}
	if err != nil {
		return s, unreadable(dir, summaryFile, err)
	}
	for _, text := range []*string{&s.Method, &s.Model, &s.Dataset, &s.Wire, &s.WeightsDigest, &s.Backend, &s.MPI, &s.Version} {
		*text = quote.Text(*text)
	}
	return s, nil
}

// Records returns what a run has recorded so far, and says which lines are not valid, as Run.Skipped; with the errors of Read.
func Records(dir string) (records []record.Record, skipped []string, err error) {
	path := filepath.Join(dir, metricsFile)
	f, err := file.Open(path)
	if err != nil {
		return nil, nil, unreadable(dir, metricsFile, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, nil, unreadable(dir, metricsFile, err)
	} else if info.Size() > maxMetrics {
		return nil, nil, unreadable(dir, metricsFile, fmt.Errorf("%w: %d bytes, more than the %d that such a file may have", file.ErrTooLarge, info.Size(), int64(maxMetrics)))
	}
	before, bad, lines := 0, 0, bufio.NewReaderSize(f, maxLine)
	for number := 1; ; number++ {
		line, length, err := nextLine(lines)
		if length == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, unreadable(dir, metricsFile, err)
		}
		r, wrong := decodeRecord(line, length, before)
		if wrong == nil {
			before, records = r.Step, append(records, r)
		} else if bad++; bad <= maxWarned {
			skipped = append(skipped, quote.Text(fmt.Sprintf("%s: line %d is skipped: %v", path, number, wrong)))
		}
		if bad > maxSkipped {
			return nil, nil, unreadable(dir, metricsFile, fmt.Errorf("line %d: more than %d lines are not valid, the last one: %w", number, maxSkipped, wrong))
		}
		if len(records) > maxRecords {
			return nil, nil, unreadable(dir, metricsFile, fmt.Errorf("line %d: more than the %d records that a run may have", number, maxRecords))
		}
	}
	if more := bad - maxWarned; more > 0 {
		skipped = append(skipped, quote.Text(fmt.Sprintf("%s: %d more lines are skipped", path, more)))
	}
	return records, skipped, nil
}

// decodeRecord decodes and checks a line of that many bytes, nil where it was too long; before is the step of the record before.
func decodeRecord(line []byte, length int64, before int) (r record.Record, err error) {
	if line == nil {
		return r, fmt.Errorf("it has %d bytes, more than the %d that a record may have", length, maxLine)
	}
	if err := unmarshal(line, &r); err != nil {
		return r, err
	}
	return r, checkRecord(r, before)
}

// nextLine reads a line of that many bytes, its newline with them; nil instead of one that is longer than the reader's buffer. The error
// is io.EOF where the text ends without a newline.
func nextLine(r *bufio.Reader) (line []byte, length int64, err error) {
	line, err = r.ReadSlice('\n')
	length = int64(len(line))
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		length += int64(len(line))
		line = nil
	}
	return line, length, err
}

// keepRecords shortens metrics.jsonl to its first lines. lost is how many of them are not there.
func keepRecords(dir string, lines int) (lost int, err error) {
	f, err := file.OpenOwn(filepath.Join(dir, metricsFile), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return lines, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	length, text := int64(0), bufio.NewReader(f)
	for lost = lines; lost > 0; lost-- {
		_, n, err := nextLine(text)
		if errors.Is(err, io.EOF) { // without a newline it is no record
			break
		} else if err != nil {
			return 0, err
		}
		length += n
	}
	return lost, f.Truncate(length)
}

func unreadable(dir, name string, err error) error {
	if at := new(fs.PathError); errors.As(err, &at) { // of the same file
		err = at.Err
	}
	return fmt.Errorf("report: reading %s: %w", filepath.Join(dir, name), err)
}
