package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lte/internal/file"
	"lte/internal/quote"
)

// Bounds of what is read; this program writes no larger files.
const (
	maxSummary = 16 << 20 // bytes of summary.json
	maxMetrics = 4 << 30  // bytes of metrics.jsonl
	maxLine    = 64 << 10 // bytes of one of its lines
	maxRecords = 1 << 20
	maxSkipped = 1000 // invalid lines
	maxWarned  = 5    // invalid lines that are named
)

// ReadSummary reads the summary of a finished run, its texts as quote.Text returns them. The error is fs.ErrNotExist if there is none.
func ReadSummary(dir string) (s Summary, err error) {
	text, err := file.Read(filepath.Join(dir, SummaryFile), maxSummary)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil {
		err = checkSummary(s)
	}
	if err != nil {
		return s, unreadable(dir, SummaryFile, err)
	}
	for _, text := range []*string{&s.Method, &s.Model, &s.Dataset, &s.Wire, &s.WeightsDigest, &s.Backend, &s.MPI, &s.Version} {
		*text = quote.Text(*text)
	}
	return s, nil
}

// WriteSummary writes dir/summary.json, complete or not at all.
func WriteSummary(dir string, s Summary) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = file.WriteBytes(filepath.Join(dir, SummaryFile), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record: cannot write the summary: %w", err)
	}
	return nil
}

// ReadMetrics reads the records of a run, finished or not, and describes the invalid lines that it skipped: which, and why.
// The error is fs.ErrNotExist if the directory has no metrics.jsonl.
func ReadMetrics(dir string) (records []Record, skipped []string, err error) {
	defer func() {
		if err != nil {
			records, skipped, err = nil, nil, unreadable(dir, MetricsFile, err)
		}
	}()
	path := filepath.Join(dir, MetricsFile)
	f, err := file.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, nil, err
	} else if info.Size() > maxMetrics {
		return nil, nil, fmt.Errorf("%w: %d bytes, expected at most %d", file.ErrTooLarge, info.Size(), int64(maxMetrics))
	}
	before, bad, lines := 0, 0, bufio.NewReaderSize(f, maxLine)
	for number := 1; ; number++ {
		line, length, err := nextLine(lines)
		if length == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		r, wrong := decodeRecord(line, length, before)
		if wrong == nil {
			before, records = r.Step, append(records, r)
		} else if bad++; bad <= maxWarned {
			skipped = append(skipped, quote.Text(fmt.Sprintf("%s: line %d is skipped: %v", path, number, wrong)))
		}
		if bad > maxSkipped {
			return nil, nil, fmt.Errorf("line %d: more than %d lines are not valid, the last one: %w", number, maxSkipped, wrong)
		}
		if len(records) > maxRecords {
			return nil, nil, fmt.Errorf("line %d: expected at most %d records", number, maxRecords)
		}
	}
	if more := bad - maxWarned; more > 0 {
		skipped = append(skipped, quote.Text(fmt.Sprintf("%s: %d more lines are skipped", path, more)))
	}
	return records, skipped, nil
}

// decodeRecord decodes and checks a line of length bytes, nil if it was too long; before is the step of the previous record.
func decodeRecord(line []byte, length int64, before int) (r Record, err error) {
	if line == nil {
		return r, fmt.Errorf("it has %d bytes, more than the %d that a record may have", length, maxLine)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	return r, checkRecord(r, before)
}

// nextLine reads a line with its newline and returns its length in bytes. The line is nil if it is longer than the reader's buffer.
// The error is io.EOF if the text ends without a newline.
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

// TruncateMetrics shortens metrics.jsonl to its first lines, which may be fewer: missing counts the lines that it lacks.
func TruncateMetrics(dir string, lines int) (missing int, err error) {
	f, err := file.OpenOwn(filepath.Join(dir, MetricsFile), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return lines, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	length, text := int64(0), bufio.NewReader(f)
	for missing = lines; missing > 0; missing-- {
		_, n, err := nextLine(text)
		if errors.Is(err, io.EOF) { // without a newline it is no record
			break
		} else if err != nil {
			return 0, err
		}
		length += n
	}
	return missing, f.Truncate(length)
}

func unreadable(dir, name string, err error) error {
	return fmt.Errorf("record: reading %s: %w", filepath.Join(dir, name), file.Cause(err))
}
