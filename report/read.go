package report

import (
	stdbytes "bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lte/config"
	"lte/train"
)

// Read returns what a finished run left in its directory: its configuration, its summary, and its records. The error is
// a fs.ErrNotExist where there is no run, or none that came to its end. A number that was not finite reads as NaN.
func Read(dir string) (c config.Config, s train.Summary, records []train.Record, err error) {
	if s, err = readSummary(dir); err != nil {
		return c, s, nil, err
	}
	if records, err = Records(dir); err != nil {
		return c, s, nil, err
	}
	c, err = config.Load(ConfigPath(dir), nil)
	return c, s, records, err
}

func readSummary(dir string) (s train.Summary, err error) {
	text, err := os.ReadFile(filepath.Join(dir, summaryFile))
	if err == nil {
		err = unmarshal(text, &s)
	}
	if err == nil && s.Steps < 1 {
		err = errors.New("no steps: expected the summary of a finished run")
	}
	if err != nil {
		return s, unreadable(dir, summaryFile, err)
	}
	return s, nil
}

// Records returns what a run has recorded so far, with the errors of Read.
func Records(dir string) (records []train.Record, err error) {
	text, err := os.ReadFile(filepath.Join(dir, metricsFile))
	if err != nil {
		return nil, unreadable(dir, metricsFile, err)
	}
	for line := range stdbytes.Lines(text) {
		var r train.Record
		if err := unmarshal(line, &r); err != nil {
			return nil, unreadable(dir, metricsFile, fmt.Errorf("line %d: %w", len(records)+1, err))
		}
		records = append(records, r)
	}
	return records, nil
}

func unreadable(dir, name string, err error) error {
	return fmt.Errorf("report: reading %s: %w", filepath.Join(dir, name), err)
}
