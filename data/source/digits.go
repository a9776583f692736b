package source

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
)

//go:embed digits/digits.csv.gz
var digitsFile []byte

// Dimensions of the digits, see digits/README.md. They have no split.
const (
	digitsCount   = 1797
	digitsClasses = 10
	digitsSide    = 8
	digitsWhite   = 16
)

func readDigits(file []byte) (*Set, error) {
	s, err := parseDigits(file)
	if err != nil {
		return nil, fmt.Errorf("the copy inside the program is damaged: %w; build the program again from a clean checkout", err)
	}
	return &Set{Kind: "digits", Name: "digits", Classes: numbers(digitsClasses), Train: s,
		Channels: 1, Height: digitsSide, Width: digitsSide, White: digitsWhite}, nil
}

// parseDigits parses the compressed table: 64 pixels and a label per line, no header.
func parseDigits(file []byte) (d Split, err error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return d, fmt.Errorf("digits.csv.gz: expected gzip: %w", err)
	}
	return parseTable(z)
}

func parseTable(r io.Reader) (d Split, err error) {
	table := csv.NewReader(r)
	table.FieldsPerRecord = digitsSide*digitsSide + 1
	table.ReuseRecord = true
	for {
		record, err := table.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return d, fmt.Errorf("digits.csv.gz: %w", err)
		}
		for column, field := range record {
			limit := uint64(digitsWhite)
			if column == len(record)-1 {
				limit = digitsClasses - 1
			}
			v, err := strconv.ParseUint(field, 10, 8)
			if err != nil || v > limit {
				line, _ := table.FieldPos(column)
				return d, fmt.Errorf("digits.csv.gz: line %d, column %d: found %q, expected an integer in 0..%d",
					line, column+1, field, limit)
			}
			if column == len(record)-1 {
				d.Labels = append(d.Labels, int32(v))
			} else {
				d.Pixels = append(d.Pixels, uint8(v))
			}
		}
	}
	if len(d.Labels) != digitsCount {
		return d, fmt.Errorf("digits.csv.gz: found %d images, expected %d", len(d.Labels), digitsCount)
	}
	return d, nil
}
