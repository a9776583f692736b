package data

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"lte/random"

	"github.com/klauspost/compress/gzip"
)

//go:embed digits/digits.csv.gz
var digitsFile []byte

// The digits' measures, see digits/README.md. They come without a split; a fifth is set aside for the test.
const (
	digitsCount   = 1797
	digitsTrain   = 1437
	digitsClasses = 10
	digitsSide    = 8
	digitsWhite   = 16
)

func openDigits(seed uint64) (*Set, error) {
	all, err := readDigits(digitsFile)
	if err != nil {
		return nil, fmt.Errorf("the copy inside the program is damaged: %w; build the program again from a clean checkout", err)
	}
	train, test := stratify(all, digitsClasses, digitsTrain, random.Stream(seed, "split"))
	set := &Set{
		Name: "digits", Classes: digitsClasses, Channels: 1, Height: digitsSide, Width: digitsSide, White: digitsWhite,
		Train: train, Test: test,
	}
	set.Mean, set.Std = all.measure(train.index, digitsWhite)
	return set, nil
}

// readDigits parses the compressed table: 64 pixels and a label a line, no header.
func readDigits(file []byte) (*memory, error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("digits.csv.gz: expected gzip: %w", err)
	}
	table := csv.NewReader(z)
	table.FieldsPerRecord = digitsSide*digitsSide + 1
	table.ReuseRecord = true
	d := newMemory(0, 1, digitsSide, digitsSide)
	for {
		record, err := table.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("digits.csv.gz: %w", err)
		}
		for column, field := range record {
			limit := uint64(digitsWhite)
			if column == len(record)-1 {
				limit = digitsClasses - 1
			}
			v, err := strconv.ParseUint(field, 10, 8)
			if err != nil || v > limit {
				line, _ := table.FieldPos(column)
				return nil, fmt.Errorf("digits.csv.gz: line %d, column %d: found %q, expected a whole number in 0..%d",
					line, column+1, field, limit)
			}
			if column == len(record)-1 {
				d.labels = append(d.labels, int32(v))
			} else {
				d.pixels = append(d.pixels, uint8(v))
			}
		}
	}
	if d.Len() != digitsCount {
		return nil, fmt.Errorf("digits.csv.gz: found %d images, expected %d", d.Len(), digitsCount)
	}
	return d, nil
}
